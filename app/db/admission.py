"""Admission to the pools: what each has to do, who may enter next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database

KEYS_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class PoolLoad:
    """Steps that a queue has to do against those it may have; `waiting` when runs wait for room in it."""

    pool: str
    slots: int
    bound: int
    load: int
    waiting: bool


@dataclass(frozen=True, slots=True)
class Admitted:
    """A run that may go; a `fresh` one is marked as sent as far as its plan's first segments go."""

    tenant_id: UUID
    run_id: UUID
    plan_hash: str
    fresh: bool


def pool_loads(system: Database, floor: int, per_slot: int) -> list[PoolLoad]:
    """Return the load of each queue that has any, or has workers; the bound is `per_slot` a live process."""
    rows = system.call("SELECT pool, slots, bound, load, waiting FROM pool_loads(%s, %s)", (floor, per_slot))
    return [PoolLoad(*row) for row in rows]


def admit(system: Database, limit: int, floor: int, per_slot: int, broker_epoch: str) -> list[Admitted]:
    """Admit up to `limit` waiting runs a pool, as far as there is room; nothing while another caller does.

    Those that wait for a place under a concurrency key get it before, in a commit of its own.
    """
    system.call("SELECT unblock_keys(%s)", (KEYS_AT_ONCE,))
    rows = system.call(
        "SELECT tenant_id, run_id, plan_hash, fresh FROM admit(%s, %s, %s, %s)",
        (limit, floor, per_slot, broker_epoch),
    )
    return [Admitted(*row) for row in rows]


def hold_run(connection: Connection, tenant_id: UUID, run_id: UUID) -> None:
    """Let the run wait that was admitted in this transaction."""
    connection.execute(text("SELECT hold_run(:tenant, :run)"), {"tenant": tenant_id, "run": run_id})


def relist_waiting(system: Database) -> int:
    """List the tenants that have waiting runs but are not in their fair queue; return their number."""
    return int(system.call("SELECT relist_waiting()")[0][0])


def wake_keys(system: Database) -> int:
    """Let the keys be looked at under which runs wait unnoticed; return their number."""
    return int(system.call("SELECT wake_keys()")[0][0])


def prune_keys(system: Database, older_s: float) -> int:
    """Remove up to 1,000 concurrency keys that no run has had for `older_s` seconds; return their number."""
    return int(system.call("SELECT prune_keys(%s)", (timedelta(seconds=older_s),))[0][0])
