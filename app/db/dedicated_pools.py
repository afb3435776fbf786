"""Pools that belong to one tenant."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor


@dataclass(frozen=True, slots=True)
class DedicatedPool:
    """A pool with the tenant it belongs to, since `created_at`."""

    pool: str
    tenant_id: UUID
    created_at: datetime


_FIND: Final = text("SELECT pool, tenant_id, created_at FROM dedicated_pools WHERE pool = :pool")
_PAGE: Final = text(
    "SELECT pool, tenant_id, created_at FROM dedicated_pools"
    " WHERE pool > :after AND tenant_id = COALESCE(:tenant, tenant_id) ORDER BY pool LIMIT :limit"
)
_ADD: Final = text(
    "INSERT INTO dedicated_pools (tenant_id, pool) VALUES (:tenant, :pool) ON CONFLICT (pool) DO NOTHING"
)
_REMOVE: Final = text("DELETE FROM dedicated_pools WHERE tenant_id = :tenant AND pool = :pool")
_FOREIGN: Final = text("SELECT * FROM foreign_pools(:tenant, CAST(:pools AS text[]))")
_OF_RUN: Final = text("""
    WITH RECURSIVE family (hash) AS (
      SELECT plan_hash FROM runs WHERE tenant_id = :tenant AND id = :run
      UNION
      SELECT s.definition -> 'workflow' ->> 'plan_hash' FROM family f
      JOIN plan_steps s ON s.tenant_id = :tenant AND s.plan_hash = f.hash AND s.operation = 'workflow'
       AND s.undoes IS NULL
    )
    SELECT DISTINCT s.queue FROM family f
    JOIN plan_steps s ON s.tenant_id = :tenant AND s.plan_hash = f.hash WHERE s.queue <> ''
""")
_OWN: Final = text("SELECT pool FROM dedicated_pools WHERE tenant_id = :tenant ORDER BY pool")


def find(connection: Connection, pool: str) -> DedicatedPool | None:
    """Return the pool if it belongs to a tenant that the caller may see."""
    row = connection.execute(_FIND, {"pool": pool}).first()
    return DedicatedPool(*row) if row is not None else None


def page(connection: Connection, wanted: PageRequest, tenant_id: UUID | None) -> Page[DedicatedPool]:
    """Return the dedicated pools by name, those of one tenant unless `tenant_id` is None."""
    after = decode_cursor(wanted.after)[0] if wanted.after is not None else ""
    values = {"after": after, "tenant": tenant_id, "limit": wanted.limit + 1}
    rows = connection.execute(_PAGE, values).all()
    found = tuple(DedicatedPool(*row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1].pool) if len(rows) > wanted.limit else None)


def own(connection: Connection, tenant_id: UUID) -> tuple[str, ...]:
    """Return the names of the tenant's pools."""
    return tuple(row[0] for row in connection.execute(_OWN, {"tenant": tenant_id}))


def add(connection: Connection, tenant_id: UUID, pool: str) -> bool:
    """Give a pool to the tenant; False when it belongs to somebody already."""
    return connection.execute(_ADD, {"tenant": tenant_id, "pool": pool}).rowcount == 1


def remove(connection: Connection, tenant_id: UUID, pool: str) -> bool:
    """Take a pool from the tenant; False when it did not have it."""
    return connection.execute(_REMOVE, {"tenant": tenant_id, "pool": pool}).rowcount == 1


def pools_of_run(connection: Connection, tenant_id: UUID, run_id: UUID) -> frozenset[str]:
    """Return the pools that the plan of a run names, with those of its sub-workflows."""
    rows = connection.execute(_OF_RUN, {"tenant": tenant_id, "run": run_id})
    return frozenset(row[0] for row in rows)


def foreign(connection: Connection, tenant_id: UUID, pools: Iterable[str]) -> frozenset[str]:
    """Return those of the pools that belong to another tenant than this one."""
    rows = connection.execute(_FOREIGN, {"tenant": tenant_id, "pools": sorted(pools)})
    return frozenset(row[0] for row in rows)
