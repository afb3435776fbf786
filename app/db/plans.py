"""Compiled plans, one copy a tenant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.documents import dump


def register(
    connection: Connection,
    tenant_id: UUID,
    plan_hash: str,
    document: Any,
    steps: Sequence[Mapping[str, Any]],
) -> None:
    """Write the plan unless the tenant has it."""
    connection.execute(
        text("SELECT register_plan(:tenant, :hash, CAST(:document AS jsonb), CAST(:steps AS jsonb))"),
        {
            "tenant": tenant_id,
            "hash": plan_hash,
            "document": dump(document),
            "steps": dump([dict(step) for step in steps]),
        },
    )


def ensure(
    connection: Connection,
    tenant_id: UUID,
    plan_hash: str,
    document: Any,
    steps: Callable[[], Sequence[Mapping[str, Any]]],
) -> None:
    """Register the plan unless it is there; `steps` is called only then."""
    there = connection.execute(
        text("SELECT 1 FROM plans WHERE tenant_id = :tenant AND hash = :hash"),
        {"tenant": tenant_id, "hash": plan_hash},
    ).first()
    if there is None:
        register(connection, tenant_id, plan_hash, document, steps())


def document(connection: Connection, tenant_id: UUID, plan_hash: str) -> Any:
    """The document of a plan, None when the tenant has none of this hash."""
    return connection.execute(
        text("SELECT document FROM plans WHERE tenant_id = :tenant AND hash = :hash"),
        {"tenant": tenant_id, "hash": plan_hash},
    ).scalar()
