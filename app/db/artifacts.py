"""Which steps hold which artifacts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.artifacts import Reference
from app.domain.leases import StepMessage

_OUTPUT: Final = text(
    "SELECT state, output FROM run_steps WHERE tenant_id = :tenant AND run_id = :run AND key = :key"
)
_HELD: Final = text(
    "SELECT a.bytes, h.content_type FROM step_artifacts h"
    " JOIN artifacts a ON a.tenant_id = h.tenant_id AND a.sha256 = h.sha256"
    " WHERE h.tenant_id = :tenant AND h.run_id = :run AND h.key = :key AND h.sha256 = :sha256"
    " ORDER BY h.tries DESC LIMIT 1"
)
_UNCHECKED: Final = text(
    "SELECT tenant_id, sha256 FROM artifacts WHERE checked_at < clock_timestamp() - CAST(:age AS interval)"
    " ORDER BY checked_at LIMIT :limit"
)
_LISTED: Final = """
  SELECT tenant_id, sha256, bytes FROM artifacts WHERE (tenant_id, sha256) > (%s, %s)
  ORDER BY tenant_id, sha256 LIMIT %s
"""
_COLLECTED: Final = """
  SELECT l.tenant_id, l.sha256 FROM unnest(%s::uuid[], %s::text[]) AS l (tenant_id, sha256)
  JOIN tenants t ON t.id = l.tenant_id
  WHERE NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.tenant_id = l.tenant_id AND a.sha256 = l.sha256)
"""
_LOCK: Final = text(
    "SELECT 1 FROM artifacts WHERE tenant_id = :tenant AND sha256 = :sha256 FOR UPDATE SKIP LOCKED"
)
_IS_HELD: Final = text("SELECT artifact_held(:tenant, :sha256)")
_CHECKED: Final = text(
    "UPDATE artifacts SET checked_at = clock_timestamp() WHERE tenant_id = :tenant AND sha256 = :sha256"
)
_FORGET: Final = (
    text("DELETE FROM step_artifacts WHERE tenant_id = :tenant AND sha256 = :sha256"),
    text("DELETE FROM artifacts WHERE tenant_id = :tenant AND sha256 = :sha256"),
)


def hold(database: Database, message: StepMessage, tries: int, reference: Reference) -> bool:
    """Note that the claim `tries` of a step holds the content; False when the claim is lost.

    Raises Unavailable.
    """
    rows = database.call(
        "SELECT hold_artifact(%s, %s, %s, %s, %s, %s, %s)",
        (
            message.tenant_id,
            message.run_id,
            message.key,
            tries,
            reference.sha256,
            reference.bytes,
            reference.content_type,
        ),
    )
    return bool(rows[0][0])


def step_output(connection: Connection, tenant_id: UUID, run_id: UUID, key: str) -> tuple[str, Any] | None:
    """Return the state with the output of a step, None when there is none."""
    row = connection.execute(_OUTPUT, {"tenant": tenant_id, "run": run_id, "key": key}).first()
    return None if row is None else (str(row.state), row.output)


def held_by(connection: Connection, tenant_id: UUID, run_id: UUID, key: str, sha256: str) -> Reference | None:
    """Return the content as the step refers to it, None when it holds no such."""
    values = {"tenant": tenant_id, "run": run_id, "key": key, "sha256": sha256}
    row = connection.execute(_HELD, values).first()
    return None if row is None else Reference(sha256, row.bytes, row.content_type)


def listed(database: Database, after: tuple[UUID, str], limit: int) -> list[tuple[UUID, str, int]]:
    """Return up to `limit` contents of all tenants behind `after`, with their sizes; raises Unavailable."""
    rows = database.call(_LISTED, (*after, limit))
    return [(row[0], row[1], int(row[2])) for row in rows]


def collected(system: Database, contents: Collection[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
    """Return those whose tenant is there and has no such content any more; raises Unavailable."""
    values = ([tenant_id for tenant_id, _ in contents], [sha256 for _, sha256 in contents])
    return {(row[0], row[1]) for row in system.call(_COLLECTED, values)}


def unchecked(system: Database, age_s: float, limit: int) -> list[tuple[UUID, str]]:
    """Return up to `limit` contents that nobody has looked at for so long, the longest first."""
    with system.system() as connection:
        values = {"age": timedelta(seconds=age_s), "limit": limit}
        return [(row.tenant_id, row.sha256) for row in connection.execute(_UNCHECKED, values)]


def forget_unheld(system: Database, tenant_id: UUID, sha256: str, delete: Callable[[], None]) -> bool:
    """Delete the content with its row unless a step holds it; tell whether it went.

    The row stays locked while `delete` runs: a writer of the same content waits, then writes it anew.
    """
    values = {"tenant": tenant_id, "sha256": sha256}
    with system.system() as connection:
        if connection.execute(_LOCK, values).first() is None:
            return False  # somebody writes it now
        if connection.execute(_IS_HELD, values).scalar():
            connection.execute(_CHECKED, values)
            return False
        delete()
        for statement in _FORGET:
            connection.execute(statement, values)
        return True
