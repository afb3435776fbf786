"""The registration of workflow definitions, their listing beside the built-in ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from app.db import caps, plans, trail
from app.db import definitions as store
from app.db.definitions import WorkflowRow
from app.db.engine import Connection, Database
from app.db.trail import Mark
from app.domain.errors import InvalidInput, NotFound
from app.domain.identity import Actor
from app.domain.modules import ModuleRegistry
from app.domain.paging import Page, PageRequest
from app.services.library import WorkflowLibrary
from app.services.manage_pools import check_pools
from app.services.merged import merge
from app.services.receipts import NO_RECEIPT, Receipt
from workflows.catalog import Catalogue
from workflows.checks import check_definition
from workflows.nesting import pinned
from workflows.parsing import parse_definition
from workflows.plan import Plan, compile_plan


@dataclass(frozen=True)
class Installed:
    """What the operator installed: modules with operations, built-in workflows with their intent types."""

    registry: ModuleRegistry
    catalogue: Catalogue

    @cached_property
    def workflows(self) -> list[dict[str, Any]]:
        """The built-in definitions as documents, ordered by name, then version."""
        found = []
        library = WorkflowLibrary(self.catalogue, self.registry)
        for definition in self.catalogue.workflows:
            plan = compile_plan(definition, self.registry, library)
            document = self.catalogue.documents[definition.name, definition.version]
            found.append(
                {
                    "name": definition.name,
                    "version": definition.version,
                    "plan_hash": plan.hash,
                    "source": "installed",
                    "document": document,
                    "created_at": None,
                }
            )
        return sorted(found, key=_place)

    def refuse_names(self, name: str, at: str) -> None:
        """Raise InvalidInput when a built-in workflow or intent type has this name."""
        built_in = {each.name for each in self.catalogue.workflows}
        if name in built_in | {each.name for each in self.catalogue.intent_types}:
            raise InvalidInput.at(at, "reserved", f"{name} is built in")


def register_workflow(
    installed: Installed, database: Database, actor: Actor, document: Any, receipt: Receipt = NO_RECEIPT
) -> dict[str, Any]:
    """Check, compile, keep a definition; raises InvalidInput with each fault, Conflict, CapReached."""
    with database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        with caps.room(connection, actor.tenant_id, "workflows"):
            made = add_workflow(installed, connection, actor, document)
        receipt.close(connection, made)
    return made


def add_workflow(installed: Installed, connection: Connection, actor: Actor, document: Any) -> dict[str, Any]:
    """Do the same within the caller's transaction; a workflow without a version is pinned to its newest."""
    parse_definition(document)
    library = WorkflowLibrary(installed.catalogue, installed.registry, connection, actor.tenant_id)
    document = pinned(document, library)
    definition = parse_definition(document)
    installed.refuse_names(definition.name, "/name")
    check_definition(definition, installed.registry, library)
    plan = compile_plan(definition, installed.registry, library)
    check_pools(connection, actor.tenant_id, definition, plan, library)
    store.add_workflow(connection, actor.tenant_id, document, plan.hash, actor.user_id)
    for one in plan.family.values():
        plans.ensure(connection, actor.tenant_id, one.hash, one.document, partial(_step_rows, one))
    subject = f"workflows/{definition.name}"
    detail = {"name": definition.name, "version": definition.version, "plan_hash": plan.hash}
    mark = Mark("workflow.register", subject, "workflow.registered", detail)
    trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
    kept = store.find_workflow(connection, actor.tenant_id, definition.name, definition.version)
    return _shown(_found(kept))


def list_workflows(
    installed: Installed, database: Database, actor: Actor, wanted: PageRequest, name: str | None
) -> Page[dict[str, Any]]:
    """Return built-in and own definitions, by name then version; with `name` only those of that name."""

    def own(after: tuple[str, int], limit: int) -> list[dict[str, Any]]:
        with database.tenant(actor.tenant_id) as connection:
            rows = store.workflows_after(connection, actor.tenant_id, after[0], after[1], limit)
        return [_shown(row) for row in rows]

    return merge(installed.workflows, own, wanted, _place, ("", 0), name)


def show_workflow(
    installed: Installed, database: Database, actor: Actor, name: str, version: int | None
) -> Mapping[str, Any]:
    """Return a definition, the newest version when `version` is None; raises NotFound."""
    built_in = [
        each for each in installed.workflows if each["name"] == name and version in (None, each["version"])
    ]
    if built_in:
        return built_in[-1]
    with database.tenant(actor.tenant_id) as connection:
        return _shown(_found(store.find_workflow(connection, actor.tenant_id, name, version)))


def _step_rows(plan: Plan) -> list[dict[str, Any]]:
    return plan.step_rows


def _place(item: Mapping[str, Any]) -> tuple[str, int]:
    return item["name"], item["version"]


def _shown(row: WorkflowRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "plan_hash": row.plan_hash,
        "source": "tenant",
        "document": row.document,
        "created_at": row.created_at,
    }


def _found(row: WorkflowRow | None) -> WorkflowRow:
    if row is None:
        raise NotFound("no such workflow")
    return row
