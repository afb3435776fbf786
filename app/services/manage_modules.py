"""The registration of tenant modules, the listing of modules with their intent types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.db import caps, trail
from app.db import definitions as store
from app.db.definitions import ModuleRow, TypeRow
from app.db.engine import Connection, Database
from app.db.trail import Mark
from app.domain.errors import Fault, InvalidInput, NotFound
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.services.manage_workflows import Installed, add_workflow
from app.services.merged import merge
from app.services.receipts import NO_RECEIPT, Receipt
from workflows.specs import check_schema


def register_module(
    installed: Installed,
    database: Database,
    actor: Actor,
    manifest: Mapping[str, Any],
    receipt: Receipt = NO_RECEIPT,
) -> dict[str, Any]:
    """Register a module, its workflows, its intent types in one commit.

    Raises InvalidInput with the place of each fault, Conflict when one of the versions exists, CapReached.
    """
    name, version = manifest["name"], manifest["version"]
    if any(module.name == name for module in installed.registry.modules):
        raise InvalidInput.at("/name", "reserved", f"{name} is an installed module")
    with database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        with caps.room(connection, actor.tenant_id, "modules", "workflows", "intent_types"):
            store.add_module(connection, actor.tenant_id, name, version, manifest, actor.user_id)
            _add_contents(installed, connection, actor, manifest)
        detail = {"name": name, "version": version}
        mark = Mark("module.register", f"modules/{name}", "module.registered", detail)
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
        made = _shown(_known(store.newest_module(connection, actor.tenant_id, name)))
        receipt.close(connection, made)
    return made


def list_modules(
    installed: Installed, database: Database, actor: Actor, wanted: PageRequest
) -> Page[dict[str, Any]]:
    """Return installed and own modules, by name then version."""

    def own(after: tuple[str, str], limit: int) -> list[dict[str, Any]]:
        with database.tenant(actor.tenant_id) as connection:
            rows = store.modules_after(connection, actor.tenant_id, after[0], after[1], limit)
        return [_shown(row) for row in rows]

    return merge(_installed(installed), own, wanted, _place, ("", ""))


def show_module(installed: Installed, database: Database, actor: Actor, name: str) -> dict[str, Any]:
    """Return the newest version of a module; raises NotFound."""
    for module in _installed(installed):
        if module["name"] == name:
            return module
    with database.tenant(actor.tenant_id) as connection:
        return _shown(_known(store.newest_module(connection, actor.tenant_id, name)))


def list_intent_types(
    installed: Installed, database: Database, actor: Actor, wanted: PageRequest
) -> Page[dict[str, Any]]:
    """Return built-in and own intent types, by name then version."""

    def own(after: tuple[str, int], limit: int) -> list[dict[str, Any]]:
        with database.tenant(actor.tenant_id) as connection:
            rows = store.types_after(connection, actor.tenant_id, after[0], after[1], limit)
        return [_type(row) for row in rows]

    return merge(_built_in_types(installed), own, wanted, _place, ("", 0))


def show_intent_type(
    installed: Installed, database: Database, actor: Actor, name: str, version: int | None
) -> dict[str, Any]:
    """Return an intent type, the newest version when `version` is None; raises NotFound."""
    built_in = [
        kind
        for kind in _built_in_types(installed)
        if kind["name"] == name and version in (None, kind["version"])
    ]
    if built_in:
        return built_in[-1]
    with database.tenant(actor.tenant_id) as connection:
        found = store.find_type(connection, actor.tenant_id, name, version)
    if found is None:
        raise NotFound("no such intent type")
    return _type(found)


def _add_contents(
    installed: Installed, connection: Connection, actor: Actor, manifest: Mapping[str, Any]
) -> None:
    types = {f"/intent_types/{index}": kind for index, kind in enumerate(manifest["intent_types"])}
    for index, document in enumerate(manifest["workflows"]):
        _add_workflow(installed, connection, actor, document, f"/workflows/{index}")
        # Its types now: they judge what a later workflow of the manifest gives to this one.
        target = document["name"], document["version"]
        for at in [at for at, kind in types.items() if _target(kind) == target]:
            _add_type(installed, connection, actor, manifest["name"], types.pop(at), at)
    for at, kind in types.items():
        _add_type(installed, connection, actor, manifest["name"], kind, at)


def _add_workflow(installed: Installed, connection: Connection, actor: Actor, document: Any, at: str) -> None:
    try:
        add_workflow(installed, connection, actor, document)
    except InvalidInput as wrong:
        raise InvalidInput(
            tuple(Fault(at + each.pointer, each.code, each.message) for each in wrong.faults)
        ) from wrong


def _target(kind: Mapping[str, Any]) -> tuple[str, int]:
    return kind["workflow_name"], kind["workflow_version"]


def _add_type(
    installed: Installed, connection: Connection, actor: Actor, module: str, kind: Mapping[str, Any], at: str
) -> None:
    installed.refuse_names(kind["name"], f"{at}/name")
    faults = check_schema(kind["spec_schema"], f"{at}/spec_schema")
    if faults:
        raise InvalidInput(faults)
    target = _target(kind)
    known = target in installed.catalogue.documents or store.find_workflow(
        connection, actor.tenant_id, *target
    )
    if not known:
        message = f"there is no workflow {target[0]} version {target[1]}"
        raise InvalidInput.at(f"{at}/workflow_name", "unknown_workflow", message)
    store.add_type(
        connection,
        actor.tenant_id,
        TypeRow(
            kind["name"],
            kind["version"],
            kind["mode"],
            kind["description"],
            kind["spec_schema"],
            *target,
            module,
        ),
    )


def _installed(installed: Installed) -> list[dict[str, Any]]:
    return [
        {
            "name": manifest["name"],
            "version": manifest["version"],
            "source": "installed",
            "manifest": manifest,
            "created_at": None,
        }
        for manifest in installed.registry.manifests()
    ]


def _built_in_types(installed: Installed) -> list[dict[str, Any]]:
    types = [
        {
            "name": kind.name,
            "version": kind.version,
            "mode": kind.mode,
            "description": kind.description,
            "spec_schema": kind.spec_schema,
            "workflow_name": kind.workflow_name,
            "workflow_version": kind.workflow_version,
            "module": None,
        }
        for kind in installed.catalogue.intent_types
    ]
    return sorted(types, key=_place)


def _type(row: TypeRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "mode": row.mode,
        "description": row.description,
        "spec_schema": row.spec_schema,
        "workflow_name": row.workflow_name,
        "workflow_version": row.workflow_version,
        "module": row.module,
    }


def _place(item: Mapping[str, Any]) -> tuple[str, Any]:
    return item["name"], item["version"]


def _shown(row: ModuleRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "source": "tenant",
        "manifest": row.manifest,
        "created_at": row.created_at,
    }


def _known(row: ModuleRow | None) -> ModuleRow:
    if row is None:
        raise NotFound("no such module")
    return row
