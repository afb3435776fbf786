"""Waits: begun, told, voted on, ended by time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.documents import dump, printable
from app.domain.leases import RunRef
from app.domain.waits import Approvers, Waiting, WaitPoint

_BEGIN: Final = text(
    "SELECT begin_wait(:tenant, :run, :key, CAST(:input AS jsonb), :seconds, CAST(:until AS timestamptz))"
)
_POINT: Final = text(
    "SELECT p.definition -> 'wait' -> 'approvers' FROM runs r"
    " JOIN plan_steps p ON p.tenant_id = r.tenant_id AND p.plan_hash = r.plan_hash AND p.operation = 'wait'"
    " AND p.definition -> 'wait' ->> 'signal' = :name WHERE r.tenant_id = :tenant AND r.id = :run LIMIT 1"
)
_SEND: Final = text(
    "SELECT * FROM send_signal(:tenant, :run, CAST(:actor AS jsonb), :name, CAST(:payload AS jsonb))"
)
_VOTE: Final = text(
    "SELECT * FROM cast_vote(:tenant, :run, CAST(:actor AS jsonb), :name, :decision, :reason)"
)


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a signal or a vote: verdicts ok, not_found, illegal, full, not_waiting, voted.

    `step` waited for it; None when the signal is kept. `needs_advance` when a step became ready by it.
    """

    verdict: str
    run_state: str | None
    step: str | None
    needs_advance: bool


@dataclass(frozen=True, slots=True)
class Fired:
    """A run that time has moved: a wait or a limit; `needs_advance` when a step became ready by it."""

    run: RunRef
    needs_advance: bool


def begin_wait(
    connection: Connection, tenant_id: UUID, run_id: UUID, key: str, waiting: Waiting | None
) -> bool:
    """Let a ready step wait, or skip it when `waiting` is None; tell whether a step became ready."""
    values = {
        "tenant": tenant_id,
        "run": run_id,
        "key": key,
        "input": None if waiting is None else dump(printable(dict(waiting.shown))),
        "seconds": None if waiting is None else waiting.seconds,
        "until": None if waiting is None else waiting.until,
    }
    return bool(connection.execute(_BEGIN, values).scalar())


def find_point(connection: Connection, tenant_id: UUID, run_id: UUID, name: str) -> WaitPoint | None:
    """Return what the run's plan says of a signal, None when no step of it ever waits for that."""
    row = connection.execute(_POINT, {"tenant": tenant_id, "run": run_id, "name": name}).first()
    if row is None:
        return None
    approvers = row[0]
    if approvers is None:
        return WaitPoint(name)
    return WaitPoint(name, Approvers(frozenset(approvers["roles"]), approvers.get("count", 1)))


def send_signal(
    connection: Connection, tenant_id: UUID, run_id: UUID, actor: Mapping[str, Any], name: str, payload: Any
) -> Told:
    """Give a signal to the run."""
    values = {
        "tenant": tenant_id,
        "run": run_id,
        "actor": dump(dict(actor)),
        "name": name,
        "payload": dump(payload),
    }
    return Told(*connection.execute(_SEND, values).one())


def cast_vote(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    name: str,
    decision: str,
    reason: str | None,
) -> Told:
    """Record one user's decision about the step that waits for it."""
    values = {
        "tenant": tenant_id,
        "run": run_id,
        "actor": dump(dict(actor)),
        "name": name,
        "decision": decision,
        "reason": printable(reason),
    }
    return Told(*connection.execute(_VOTE, values).one())


def fire_timers(system: Database, limit: int, *, careful: bool = False) -> list[Fired]:
    """End up to `limit` waits whose time has come; as many as the limit mean that more may be due.

    One that cannot be ended raises; with `careful` it is put off by a minute, and the others end.
    """
    rows = system.call("SELECT * FROM fire_timers(%s, %s)", (limit, careful))
    return [Fired(RunRef(tenant_id, run_id), needs_advance) for tenant_id, run_id, needs_advance in rows]


def fire_limits(system: Database, limit: int, *, careful: bool = False) -> list[Fired]:
    """End up to `limit` runs whose time limit has passed; as many as the limit mean that more may be due.

    `careful` as for `fire_timers`.
    """
    rows = system.call("SELECT * FROM fire_limits(%s, %s)", (limit, careful))
    return [Fired(RunRef(tenant_id, run_id), needs_advance) for tenant_id, run_id, needs_advance in rows]
