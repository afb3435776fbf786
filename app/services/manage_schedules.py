"""Schedules as their owners handle them: made, changed, paused, triggered, filled back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Any, Final
from uuid import UUID

from app.db import caps, firings, trail
from app.db import schedules as store
from app.db.engine import Connection, Database
from app.db.schedules import ScheduleRow
from app.db.trail import Mark
from app.domain.errors import IllegalState, InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.domain.schedules import Timing, due_at
from app.services.fire_schedules import Start, declare, placed, submission
from app.services.firing_times import anchored, check_cron, times_after, zone
from app.services.manage_pools import refuse_pools
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.submit import SubmitDeps, checked_spec, send_accepted

MAX_BACKFILL: Final = 10_000
SAMPLE_AT: Final = "2030-01-31T08:00:00+00:00"

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Backfill:
    """How many firings a back-fill planned, the first and the last of them."""

    planned: int
    first: datetime | None
    last: datetime | None


def create_schedule(
    deps: SubmitDeps, actor: Actor, wanted: Values, receipt: Receipt = NO_RECEIPT
) -> ScheduleRow:
    """Make a schedule, active at once.

    Raises InvalidInput with each place, Conflict for its name, CapReached.
    """
    schedule_id = deps.new_id()
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        timing = anchored(_timing(wanted), firings.now(connection))
        _check(deps, connection, actor, wanted, timing)
        values = dict(wanted) | asdict(timing) | _next(schedule_id, timing, firings.now(connection))
        if values["next_at"] is None:
            raise InvalidInput.at("/timing", "never", "this never fires")
        with caps.room(connection, actor.tenant_id, "schedules"):
            store.add(connection, actor.tenant_id, schedule_id, actor.user_id, _columns(values))
        made = _found(store.find(connection, actor.tenant_id, schedule_id))
        _mark(connection, actor, made, "schedule.create", "schedule.created")
        receipt.close(connection, made)
    return made


def change_schedule(
    deps: SubmitDeps, actor: Actor, schedule_id: UUID, version: int | None, wanted: Values
) -> ScheduleRow:
    """Change what `wanted` names; a new timing counts from now. Raises as `create_schedule`, or NotFound."""
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, schedule_id, version)
        values = _merged(row, wanted)
        timing = anchored(_timing(values), firings.now(connection))
        _check(deps, connection, actor, values, timing)
        values |= asdict(timing)
        if row["state"] != "paused":
            values |= _next(schedule_id, timing, firings.now(connection))
        store.change(connection, actor.tenant_id, schedule_id, _columns(values))
        changed = _found(store.find(connection, actor.tenant_id, schedule_id))
        _mark(connection, actor, changed, "schedule.change", "schedule.changed")
    return changed


def delete_schedule(deps: SubmitDeps, actor: Actor, schedule_id: UUID, version: int | None) -> None:
    """Delete a schedule; what it started goes on. Raises NotFound, PreconditionFailed."""
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, schedule_id, version)
        _mark(connection, actor, row, "schedule.delete", "schedule.deleted")
        store.delete(connection, actor.tenant_id, schedule_id)


def pause_schedule(
    deps: SubmitDeps,
    actor: Actor,
    schedule_id: UUID,
    version: int | None = None,
    reason: str | None = None,
    receipt: Receipt = NO_RECEIPT,
) -> ScheduleRow:
    """Let it fire no more until it is resumed; pausing twice changes nothing.

    Raises NotFound, PreconditionFailed, IllegalState once it has ended.
    """
    paused = {"state": "paused", "pause_reason": reason, "next_at": None, "due_at": None}
    return _steer(deps, actor, schedule_id, version, "active", "pause", receipt, lambda *_: paused)


def resume_schedule(
    deps: SubmitDeps,
    actor: Actor,
    schedule_id: UUID,
    version: int | None = None,
    receipt: Receipt = NO_RECEIPT,
) -> ScheduleRow:
    """Let it fire again from now on; what fell into the pause is not caught up."""

    def next_of(row: ScheduleRow, now: datetime) -> Values:
        return {"pause_reason": None, **_next(schedule_id, store.timing_of(row), now)}

    return _steer(deps, actor, schedule_id, version, "paused", "resume", receipt, next_of)


def trigger_schedule(
    deps: SubmitDeps, actor: Actor, schedule_id: UUID, receipt: Receipt = NO_RECEIPT
) -> Mapping[str, Any]:
    """Fire now, whatever the timetable and the overlap policy say; return the firing.

    Raises NotFound, InvalidInput when the intent is refused.
    """
    epoch = deps.outbox.epoch()
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        row = _locked(connection, actor, schedule_id, None)
        start = Start(row, firings.now(connection), "trigger")
        notes, accepted = declare(deps, connection, actor, [start], epoch)
        if notes[0]["outcome"] == "failed":
            raise InvalidInput.at("/spec", "refused", str(notes[0]["reason"]))
        _keep(connection, actor, row, placed(notes))
        _mark(connection, actor, row, "schedule.trigger")
        fired = firings.find(connection, actor.tenant_id, schedule_id, start.scheduled_at, "trigger")
        receipt.close(connection, fired)
    send_accepted(deps, actor.tenant_id, accepted)
    return fired


def backfill_schedule(
    deps: SubmitDeps,
    actor: Actor,
    schedule_id: UUID,
    start: datetime,
    end: datetime,
    per_minute: float,
    receipt: Receipt = NO_RECEIPT,
) -> Backfill:
    """Plan the firings of a past range, `per_minute` of them a minute; those there already stay as they are.

    They start whatever the overlap policy says, since the rate bounds them. Raises InvalidInput for a range
    that is empty, not past, or holds more than 10,000 firings, CapReached.
    """
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        row = _locked(connection, actor, schedule_id, None)
        now = firings.now(connection)
        if not start <= end <= now:
            raise InvalidInput.at("/to", "range", "the range must begin before it ends, end in the past")
        before = start - timedelta(microseconds=1)
        within = takewhile(lambda moment: moment <= end, times_after(store.timing_of(row), before))
        times = list(islice(within, MAX_BACKFILL + 1))
        if len(times) > MAX_BACKFILL:
            raise InvalidInput.at("/to", "too_many", f"the range holds more than {MAX_BACKFILL} firings")
        gap = timedelta(minutes=1 / per_minute)
        due = [now + place * gap for place in range(len(times))]
        with caps.room(connection, actor.tenant_id, "planned_firings"):
            planned = firings.plan(connection, actor.tenant_id, schedule_id, times, due)
        detail = {
            "from": start.isoformat(),
            "to": end.isoformat(),
            "planned": planned,
            "per_minute": per_minute,
        }
        _mark(connection, actor, row, "schedule.backfill", detail=detail)
        result = Backfill(planned, times[0] if times else None, times[-1] if times else None)
        receipt.close(connection, result)
    return result


def show_schedule(database: Database, actor: Actor, schedule_id: UUID) -> ScheduleRow:
    """Return a schedule; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        return _found(store.find(connection, actor.tenant_id, schedule_id))


def list_schedules(
    database: Database, actor: Actor, wanted: PageRequest, state: str | None
) -> Page[ScheduleRow]:
    """Return the schedules by name."""
    with database.tenant(actor.tenant_id) as connection:
        return store.page(connection, actor.tenant_id, wanted, state)


def list_firings(
    database: Database, actor: Actor, schedule_id: UUID, wanted: PageRequest
) -> Page[Mapping[str, Any]]:
    """Return what became of a schedule's firings, the latest first; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        _found(store.find(connection, actor.tenant_id, schedule_id))
        return firings.page(connection, actor.tenant_id, schedule_id, wanted)


def next_times(
    database: Database, actor: Actor, schedule_id: UUID, count: int, after: datetime | None
) -> list[datetime]:
    """Return the next `count` firing times by the timetable, without jitter; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        row = _found(store.find(connection, actor.tenant_id, schedule_id))
        since = after or firings.now(connection)
    return list(islice(times_after(store.timing_of(row), since), count))


def _steer(
    deps: SubmitDeps,
    actor: Actor,
    schedule_id: UUID,
    version: int | None,
    needed: str,
    verb: str,
    receipt: Receipt,
    values: Callable[[ScheduleRow, datetime], Values],
) -> ScheduleRow:
    """Pause or resume: once it is so, the same again changes nothing."""
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        row = _locked(connection, actor, schedule_id, version)
        if row["state"] == "ended":
            raise IllegalState("the schedule has ended: give it a timing that lies ahead")
        if row["state"] == needed:
            store.change(connection, actor.tenant_id, schedule_id, values(row, firings.now(connection)))
            row = _found(store.find(connection, actor.tenant_id, schedule_id))
            _mark(connection, actor, row, f"schedule.{verb}", f"schedule.{verb}d")
        receipt.close(connection, row)
    return row


def _check(deps: SubmitDeps, connection: Connection, actor: Actor, values: Values, timing: Timing) -> None:
    """Raise InvalidInput unless the timing is sound and the spec fits its type at a sample firing."""
    for place, check, given in (
        ("/timing/cron", check_cron, timing.cron),
        ("/timing/timezone", zone, timing.timezone),
    ):
        try:
            if given is not None:
                check(given)
        except ValueError as error:
            raise InvalidInput.at(place, "bad_timing", str(error)) from error
    if timing.start_at and timing.end_at and timing.start_at >= timing.end_at:
        raise InvalidInput.at("/timing/end_at", "range", "it ends before it starts")
    sample = {"type_version": None, **values, "type": values["type_name"]}
    declared = submission(sample, datetime.fromisoformat(SAMPLE_AT), "time")
    planned = deps.types.find(connection, actor.tenant_id, declared.type, declared.type_version)
    refuse_pools(connection, actor.tenant_id, planned.plan)
    checked_spec(planned, declared.spec)


def _next(schedule_id: UUID, timing: Timing, now: datetime) -> dict[str, Any]:
    """Return the columns that say when it fires next; it has ended when it never does."""
    following = next(iter(times_after(timing, now)), None)
    due = due_at(schedule_id, timing, following) if following else None
    return {"state": "active" if following else "ended", "next_at": following, "due_at": due}


def _timing(values: Values) -> Timing:
    return store.timing_of({**asdict(Timing()), **values})


def _merged(row: ScheduleRow, wanted: Values) -> dict[str, Any]:
    """Return the schedule with its changes; one way to tell the time replaces the other."""
    kept = {**row, "type_name": row["type"]}
    if {"cron", "every_s", "at"} & wanted.keys():
        kept |= {"cron": None, "every_s": None, "at": None}
    return kept | dict(wanted)


def _columns(values: Values) -> dict[str, Any]:
    return {name: values[name] for name in store.CHANGEABLE if name in values}


def _keep(connection: Connection, actor: Actor, row: ScheduleRow, notes: list[dict[str, Any]]) -> None:
    moments = {name: row[name].isoformat() if row[name] else None for name in ("next_at", "due_at")}
    store.note(connection, actor.tenant_id, notes, [{"id": str(row["id"]), "events": len(notes), **moments}])


def _mark(
    connection: Connection,
    actor: Actor,
    row: ScheduleRow,
    action: str,
    event: str | None = None,
    detail: Values | None = None,
) -> None:
    about = {"schedule_id": str(row["id"]), "name": row["name"], "state": row["state"], **(detail or {})}
    if event is not None:
        store.emit(connection, actor.tenant_id, row["id"], event, about, actor.as_json())
    trail.leave(
        connection, actor.tenant_id, actor.as_json(), Mark(action, f"schedules/{row['id']}", None, about)
    )


def _locked(connection: Connection, actor: Actor, schedule_id: UUID, version: int | None) -> ScheduleRow:
    row = _found(store.find(connection, actor.tenant_id, schedule_id, locked=True))
    if version is not None and row["version"] != version:
        raise PreconditionFailed("the schedule was changed since")
    return row


def _found(row: ScheduleRow | None) -> ScheduleRow:
    if row is None:
        raise NotFound("no such schedule")
    return row
