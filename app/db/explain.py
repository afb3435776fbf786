"""What stands in the way of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database

HOLDERS: Final = 20
STEPS: Final = 100


@dataclass(frozen=True, slots=True)
class FairPlace:
    """How many waiting runs go before one; the rates are admissions a second, None if there were none."""

    in_tenant: int
    in_pool: int
    tenant_rate: float | None
    pool_rate: float | None


_HOLDERS: Final = text("""
    SELECT r.id FROM runs r
    WHERE r.tenant_id = :tenant AND r.parent_run_id IS NULL AND r.admitted_at IS NOT NULL
      AND r.state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating')
    ORDER BY r.admitted_at, r.id LIMIT :limit
""")
_KEY_HOLDERS: Final = text("""
    SELECT r.id FROM runs r WHERE r.tenant_id = :tenant AND r.concurrency_key = :key AND NOT r.held_by_key
      AND r.state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating')
    ORDER BY r.id LIMIT :limit
""")
_KEY_TAKEN: Final = text("SELECT key_taken(:tenant, :key)")
_KEY_WAITING: Final = text("""
    SELECT count(*) FROM runs r JOIN runs me ON me.tenant_id = :tenant AND me.id = :run
    WHERE r.tenant_id = :tenant AND r.concurrency_key = :key AND r.held_by_key
      AND r.state || '' IN ('queued', 'running', 'pausing', 'cancelling', 'compensating')
      AND (r.priority > me.priority OR r.priority = me.priority AND r.id < me.id)
""")
_TAKEN: Final = text("SELECT places_taken(:tenant, :limit)")
_STEPS_TAKEN: Final = text("SELECT steps_taken(:tenant, :limit)")
_STEP_HOLDERS: Final = text("""
    SELECT DISTINCT t.run_id FROM (
      SELECT s.run_id FROM run_steps s
      WHERE s.tenant_id = :tenant AND s.state || '' = 'ready' AND s.sent_at IS NOT NULL
      UNION ALL
      SELECT s.run_id FROM run_steps s WHERE s.tenant_id = :tenant AND s.state || '' = 'running'
    ) t ORDER BY t.run_id LIMIT :limit
""")
# Steps that have not ended, in the plan's order, each with its open needs.
_OPEN: Final = text("""
    SELECT s.key, s.state, s.queue, s.operation, s.is_fan, s.sent_at, s.not_before, s.needs_left, s.attempt,
           s.worker, s.started_at, s.input ->> 'signal' AS signal, s.undoes, ARRAY(
             SELECT n.key FROM plan_steps p
             JOIN run_steps n ON n.tenant_id = s.tenant_id AND n.run_id = s.run_id AND n.key = ANY (p.needs)
              AND n.state NOT IN ('succeeded', 'failed', 'skipped', 'cancelled')
             WHERE p.tenant_id = s.tenant_id AND p.plan_hash = :plan AND p.base = s.base
              AND s.state = 'pending'
             ORDER BY n.seq) AS needs
    FROM run_steps s WHERE s.tenant_id = :tenant AND s.run_id = :run
      AND s.state IN ('ready', 'running', 'waiting', 'pending')
    ORDER BY s.state = 'pending', s.seq, COALESCE(s.item, -1) LIMIT :limit
""")


def holders(connection: Connection, tenant_id: UUID) -> list[UUID]:
    """Return the runs of the tenant that have held a place longest, at most twenty."""
    rows = connection.execute(_HOLDERS, {"tenant": tenant_id, "limit": HOLDERS})
    return [row[0] for row in rows]


def key_holders(connection: Connection, tenant_id: UUID, key: str) -> list[UUID]:
    """Return the runs with a place under the key, the oldest first, at most twenty."""
    rows = connection.execute(_KEY_HOLDERS, {"tenant": tenant_id, "key": key, "limit": HOLDERS})
    return [row[0] for row in rows]


def key_taken(connection: Connection, tenant_id: UUID, key: str) -> int:
    """Return how many runs have a place under the key."""
    return int(connection.execute(_KEY_TAKEN, {"tenant": tenant_id, "key": key}).scalar_one())


def key_waiting(connection: Connection, tenant_id: UUID, key: str, run_id: UUID) -> int:
    """Return how many runs wait for the key before this one."""
    return int(
        connection.execute(_KEY_WAITING, {"tenant": tenant_id, "key": key, "run": run_id}).scalar_one()
    )


def steps_taken(connection: Connection, tenant_id: UUID, most: int) -> int:
    """Return how many steps have a place; those ready and those running are counted up to `most` each."""
    return int(connection.execute(_STEPS_TAKEN, {"tenant": tenant_id, "limit": most}).scalar_one())


def step_holders(connection: Connection, tenant_id: UUID) -> list[UUID]:
    """Return the runs whose steps have places, at most twenty."""
    rows = connection.execute(_STEP_HOLDERS, {"tenant": tenant_id, "limit": HOLDERS})
    return [row[0] for row in rows]


def places_taken(connection: Connection, tenant_id: UUID, most: int) -> int:
    """Return how many runs of the tenant hold a place, counted no further than `most`."""
    return int(connection.execute(_TAKEN, {"tenant": tenant_id, "limit": most}).scalar_one())


def open_steps(
    connection: Connection, tenant_id: UUID, run_id: UUID, plan_hash: str
) -> Sequence[Mapping[str, Any]]:
    """Return up to a hundred steps that have not ended, those first that could be under way."""
    values = {"tenant": tenant_id, "run": run_id, "plan": plan_hash, "limit": STEPS}
    return [dict(row) for row in connection.execute(_OPEN, values).mappings()]


def fair_place(system: Database, tenant_id: UUID, run_id: UUID) -> FairPlace:
    """Return where a waiting run stands among all."""
    rows = system.call(
        "SELECT in_tenant, in_pool, tenant_rate, pool_rate FROM fair_place(%s, %s)", (tenant_id, run_id)
    )
    return FairPlace(*rows[0])


_HOLD: Final = text("""
    SELECT h.name, coalesce(m.reason, '') AS reason FROM holds h LEFT JOIN maintenance m ON h.name = '*'
    WHERE h.name IN ('*', 'tenant/' || CAST(:tenant AS text)) ORDER BY h.name LIMIT 1
""")


def hold(connection: Connection, tenant_id: UUID) -> tuple[str, str] | None:
    """Return what keeps the tenant's steps from beginning, `maintenance` or `tenant_suspended`, with why."""
    row = connection.execute(_HOLD, {"tenant": tenant_id}).first()
    if row is None:
        return None
    return ("maintenance" if row.name == "*" else "tenant_suspended", row.reason)
