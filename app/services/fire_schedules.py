"""The firing of schedules that are due: decided, declared, noted in one commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from app.db import runs
from app.db import schedules as store
from app.db.engine import Connection, Database
from app.db.schedules import ScheduleRow
from app.domain.errors import InvalidInput, QuantumError, Unavailable
from app.domain.identity import Actor
from app.domain.schedules import Firing, Look, due_at, look
from app.observability.context import log_context
from app.observability.logging import get_log
from app.services.firing_times import last_until, times_after
from app.services.submit import (
    Accepted,
    Submission,
    SubmitDeps,
    accept,
    nothing_first,
    send_accepted,
)
from workflows.decisions import DecisionFailed, evaluate_with

log = get_log(__name__)

SCHEDULES_AT_ONCE: Final = 200
"""Locked by one transaction; others who want to change one of them wait so long."""
LOOKED_FOR: Final = 2_000
ROUNDS: Final = 10


@dataclass(frozen=True, slots=True)
class Start:
    """A firing that declares an intent."""

    row: ScheduleRow
    scheduled_at: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class _Turn:
    """What one locked schedule does now."""

    row: ScheduleRow
    decided: Look
    starts: tuple[Start, ...]


def fire_schedules(deps: SubmitDeps, system: Database) -> int:
    """Fire what is due, a few hundred schedules a commit; return how many firings were decided.

    Each firing stands in the history with its run, or with why it has none, in the very commit that declares
    its intent: dying at any moment loses none and doubles none. Two at once are harmless. Raises Unavailable.
    """
    total = 0
    for _ in range(ROUNDS):
        found = store.to_look_at(system, LOOKED_FOR)
        by_tenant = sorted(found, key=lambda one: one[0])
        fired = sum(
            _fire_tenant(deps, tenant_id, [one[1] for one in group])
            for tenant_id, group in groupby(by_tenant, key=lambda one: one[0])
        )
        total += fired
        if not fired or len(found) < LOOKED_FOR:
            break
    return total


def _fire_tenant(deps: SubmitDeps, tenant_id: UUID, ids: Sequence[UUID]) -> int:
    with log_context(tenant_id=tenant_id):
        return sum(
            _fire_safely(deps, tenant_id, ids[at : at + SCHEDULES_AT_ONCE])
            for at in range(0, len(ids), SCHEDULES_AT_ONCE)
        )


def _fire_safely(deps: SubmitDeps, tenant_id: UUID, ids: Sequence[UUID]) -> int:
    """Fire these schedules; where that raises, each alone: one keeps no other from firing."""
    try:
        return _fire_some(deps, tenant_id, ids)
    except Unavailable:
        raise
    except Exception:
        log.exception("schedules_failed", schedule_ids=[str(one) for one in ids[:1]], schedules=len(ids))
    return sum(_fire_safely(deps, tenant_id, [one]) for one in ids) if len(ids) > 1 else 0


def _fire_some(deps: SubmitDeps, tenant_id: UUID, ids: Sequence[UUID]) -> int:
    actor = scheduler(tenant_id)
    epoch = deps.outbox.epoch()
    with deps.engine.database.tenant(tenant_id) as connection:
        turns = [_turn(row) for row in store.lock(connection, tenant_id, ids)]
        starts = [start for turn in turns for start in turn.starts]
        stopped = sorted(run_id for turn in turns for run_id in turn.decided.cancel)
        cancel = partial(_cancel, connection, actor, stopped) if stopped else nothing_first
        notes, accepted = declare(deps, connection, actor, starts, epoch, cancel)
        notes += [_note(turn.row, firing, "time") for turn in turns for firing in _kept_back(turn)]
        if turns:
            store.note(connection, tenant_id, placed(notes), [_after(turn, notes) for turn in turns])
    send_accepted(deps, tenant_id, accepted)
    return len(notes)


def _cancel(connection: Connection, actor: Actor, stopped: Sequence[UUID]) -> None:
    for run_id in stopped:
        runs.cancel_run(
            connection, actor.tenant_id, run_id, actor.as_json(), None, "the schedule fired again"
        )


def _turn(row: ScheduleRow) -> _Turn:
    decided = Look((), row["next_at"])
    if row["state"] == "active" and row["due_at"] <= row["now"]:
        decided = look(store.standing_of(row), row["now"], times_after, last_until)
    fired = (firing for firing in decided.firings if firing.outcome == "started")
    starts = [Start(row, firing.scheduled_at, "time") for firing in fired]
    starts += [Start(row, datetime.fromisoformat(one["scheduled_at"]), "backfill") for one in row["planned"]]
    if row["waiting"] is not None and not row["open_runs"] and row["state"] == "active":
        starts.append(Start(row, row["waiting"], "time"))
    return _Turn(row, decided, tuple(starts))


def _kept_back(turn: _Turn) -> Iterator[Firing]:
    return (firing for firing in turn.decided.firings if firing.outcome != "started")


def declare(
    deps: SubmitDeps,
    connection: Connection,
    actor: Actor,
    starts: Sequence[Start],
    epoch: str | None,
    first: Callable[[], None] = nothing_first,
) -> tuple[list[dict[str, Any]], Accepted]:
    """Declare the intent of each start in the caller's transaction; return notes, what to send after.

    A start that is refused is noted as failed with the reason: the schedule goes on. `first` as for `accept`.
    """
    notes: list[dict[str, Any]] = []
    ready: list[tuple[Start, Submission]] = []
    for start in starts:
        try:
            ready.append((start, submission(start.row, start.scheduled_at, start.cause)))
        except QuantumError as error:
            notes.append(
                _note(start.row, Firing(start.scheduled_at, "failed", str(error)[:500]), start.cause)
            )
    accepted = accept(deps, connection, actor, [one for _, one in ready], epoch, first)
    for (start, _), outcome in zip(ready, accepted.outcomes, strict=True):
        if outcome.error is not None:
            failed = Firing(start.scheduled_at, "failed", str(outcome.error)[:500])
            notes.append(_note(start.row, failed, start.cause))
            continue
        note = _note(start.row, Firing(start.scheduled_at, "started"), start.cause)
        notes.append(note | {"intent_id": str(outcome.intent_id), "run_id": str(outcome.run_id)})
    return notes, accepted


def submission(row: Mapping[str, Any], scheduled_at: datetime, cause: str) -> Submission:
    """Return what the schedule declares for one firing; raises InvalidInput when an expression fails."""
    facts = {"scheduled_at": scheduled_at.isoformat(), "schedule": row["name"], "cause": cause}
    try:
        given = evaluate_with({"with": row["spec"]}, {"run": facts})
    except DecisionFailed as fault:
        raise InvalidInput.at("/spec", "bad_expression", str(fault)) from fault
    if given.secrets:
        raise InvalidInput.at("/spec", "secret", "secrets stand in workflows only")
    labels = {"schedule": row["name"][:255], **row["labels"]}
    return Submission(
        row["type"], dict(given.values), row["type_version"], row["name"], labels, row["priority"]
    )


def scheduler(tenant_id: UUID) -> Actor:
    """Return who acts when a schedule fires by itself."""
    return Actor(tenant_id, "", None, "scheduler", frozenset(), "scheduler")


def placed(notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Number the notes of each schedule, in the order of the timetable: so their events are numbered."""
    notes.sort(key=lambda one: (one["schedule_id"], one["scheduled_at"]))
    for _, group in groupby(notes, key=lambda one: one["schedule_id"]):
        for place, one in enumerate(group, start=1):
            one["place"] = place
    return notes


def _note(row: Mapping[str, Any], firing: Firing, cause: str) -> dict[str, Any]:
    return {
        "schedule_id": str(row["id"]),
        "scheduled_at": firing.scheduled_at.isoformat(),
        "cause": cause,
        "outcome": firing.outcome,
        "reason": firing.reason,
    }


def _after(turn: _Turn, notes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row, next_at = turn.row, turn.decided.next_at
    due = due_at(row["id"], store.timing_of(row), next_at).isoformat() if next_at else None
    return {
        "id": str(row["id"]),
        "events": sum(one["schedule_id"] == str(row["id"]) for one in notes),
        "next_at": next_at.isoformat() if next_at else None,
        "due_at": due,
    }
