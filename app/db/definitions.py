"""What a tenant registered: modules, workflow definitions, intent types, each version immutable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from app.db.ids import new_id
from app.domain.errors import Conflict


@dataclass(frozen=True, slots=True)
class ModuleRow:
    """A registered module."""

    name: str
    version: str
    manifest: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """A registered definition."""

    name: str
    version: int
    document: Mapping[str, Any]
    plan_hash: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TypeRow:
    """A registered intent type."""

    name: str
    version: int
    mode: str
    description: str
    spec_schema: Mapping[str, Any]
    workflow_name: str
    workflow_version: int
    module: str | None


_MODULE: Final = "name, version, manifest, created_at"
_WORKFLOW: Final = "name, version, document, plan_hash, created_at"
_TYPE: Final = "name, version, mode, description, spec_schema, workflow_name, workflow_version, module"


def add_module(
    connection: Connection,
    tenant_id: UUID,
    name: str,
    version: str,
    manifest: Mapping[str, Any],
    by: UUID | None,
) -> None:
    """Add a module; raises Conflict when this version exists."""
    _insert(
        connection,
        "INSERT INTO modules (tenant_id, id, name, version, manifest, created_by)"
        " VALUES (:tenant, :id, :name, :version, CAST(:manifest AS jsonb), :by)",
        {
            "tenant": tenant_id,
            "id": new_id(),
            "name": name,
            "version": version,
            "manifest": json.dumps(manifest),
            "by": by,
        },
        f"module {name} {version}",
    )


def add_workflow(
    connection: Connection, tenant_id: UUID, document: Mapping[str, Any], plan_hash: str, by: UUID | None
) -> None:
    """Add a definition; raises Conflict when this version exists."""
    name, version = document["name"], int(document["version"])
    _insert(
        connection,
        "INSERT INTO workflows (tenant_id, id, name, version, document, plan_hash, created_by)"
        " VALUES (:tenant, :id, :name, :version, CAST(:document AS jsonb), :plan_hash, :by)",
        {
            "tenant": tenant_id,
            "id": new_id(),
            "name": name,
            "version": version,
            "document": json.dumps(document),
            "plan_hash": plan_hash,
            "by": by,
        },
        f"workflow {name} version {version}",
    )


def add_type(connection: Connection, tenant_id: UUID, kind: TypeRow) -> None:
    """Add an intent type; raises Conflict when this version exists."""
    _insert(
        connection,
        "INSERT INTO intent_types (tenant_id, name, version, mode, description, spec_schema, workflow_name,"
        " workflow_version, module) VALUES (:tenant, :name, :version, :mode, :description,"
        " CAST(:spec_schema AS jsonb), :workflow_name, :workflow_version, :module)",
        {
            "tenant": tenant_id,
            "name": kind.name,
            "version": kind.version,
            "mode": kind.mode,
            "description": kind.description,
            "spec_schema": json.dumps(kind.spec_schema),
            "workflow_name": kind.workflow_name,
            "workflow_version": kind.workflow_version,
            "module": kind.module,
        },
        f"intent type {kind.name} version {kind.version}",
    )


def modules_after(
    connection: Connection, tenant_id: UUID, name: str, version: str, limit: int
) -> list[ModuleRow]:
    """Return modules behind (name, version) in byte order."""
    rows = _after(connection, "modules", _MODULE, 'version COLLATE "C"', tenant_id, name, version, limit)
    return [ModuleRow(**row._mapping) for row in rows]


def workflows_after(
    connection: Connection, tenant_id: UUID, name: str, version: int, limit: int
) -> list[WorkflowRow]:
    """Return definitions behind (name, version) in byte order."""
    rows = _after(connection, "workflows", _WORKFLOW, "version", tenant_id, name, version, limit)
    return [WorkflowRow(**row._mapping) for row in rows]


def types_after(
    connection: Connection, tenant_id: UUID, name: str, version: int, limit: int
) -> list[TypeRow]:
    """Return intent types behind (name, version) in byte order."""
    rows = _after(connection, "intent_types", _TYPE, "version", tenant_id, name, version, limit)
    return [TypeRow(**row._mapping) for row in rows]


def newest_module(connection: Connection, tenant_id: UUID, name: str) -> ModuleRow | None:
    """Return the module registered last under `name`."""
    row = connection.execute(
        text(
            "SELECT name, version, manifest, created_at FROM modules"
            " WHERE tenant_id = :tenant AND name = :name ORDER BY id DESC LIMIT 1"
        ),
        {"tenant": tenant_id, "name": name},
    ).first()
    return ModuleRow(**row._mapping) if row else None


def find_workflow(
    connection: Connection, tenant_id: UUID, name: str, version: int | None
) -> WorkflowRow | None:
    """Return the definition, the newest version when `version` is None."""
    row = _find(connection, "workflows", _WORKFLOW, tenant_id, name, version)
    return WorkflowRow(**row._mapping) if row else None


def find_type(connection: Connection, tenant_id: UUID, name: str, version: int | None) -> TypeRow | None:
    """Return the intent type, the newest version when `version` is None."""
    row = _find(connection, "intent_types", _TYPE, tenant_id, name, version)
    return TypeRow(**row._mapping) if row else None


def find_type_of(connection: Connection, tenant_id: UUID, workflow: str, version: int) -> TypeRow | None:
    """Return the newest intent type that this version of a workflow realises."""
    row = connection.execute(
        text(
            f"SELECT {_TYPE} FROM intent_types WHERE tenant_id = :tenant AND workflow_name = :workflow"  # noqa: S608 - constants
            " AND workflow_version = :version ORDER BY version DESC, name LIMIT 1"
        ),
        {"tenant": tenant_id, "workflow": workflow, "version": version},
    ).first()
    return TypeRow(**row._mapping) if row else None


def _find(
    connection: Connection, relation: str, columns: str, tenant_id: UUID, name: str, version: int | None
) -> Row[Any] | None:
    exact = "" if version is None else " AND version = :version"
    return connection.execute(
        text(
            f"SELECT {columns} FROM {relation} WHERE tenant_id = :tenant AND name = :name{exact}"  # noqa: S608 - constants
            " ORDER BY version DESC LIMIT 1"
        ),
        {"tenant": tenant_id, "name": name, **({} if version is None else {"version": version})},
    ).first()


def _after(
    connection: Connection,
    relation: str,
    columns: str,
    version_key: str,
    tenant_id: UUID,
    name: str,
    version: str | int,
    limit: int,
) -> list[Row[Any]]:
    # Names are compared byte by byte, as Python compares them: built-in ones are merged in there.
    query = (
        f'SELECT {columns} FROM {relation} WHERE tenant_id = :tenant AND (name COLLATE "C", {version_key})'  # noqa: S608 - constants
        f' > (:name, :version) ORDER BY name COLLATE "C", {version_key} LIMIT :limit'
    )
    return list(
        connection.execute(
            text(query), {"tenant": tenant_id, "name": name, "version": version, "limit": limit}
        )
    )


def _insert(connection: Connection, statement: str, values: Mapping[str, Any], what: str) -> None:
    try:
        connection.execute(text(statement), values)
    except IntegrityError as taken:
        raise Conflict(f"{what} exists: a version never changes", "version_exists") from taken
