"""Schedules as rows: kept, listed, locked while they fire."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.db.engine import Database
from app.db.named import Named, Values
from app.domain.paging import Page, PageRequest
from app.domain.schedules import Rules, Standing, Template, Timing

_COLUMNS: Final = """
  s.id, s.name, s.type_name AS type, s.type_version, s.spec, s.labels, s.priority, s.cron, s.every_s, s.at,
  s.timezone, s.start_at, s.end_at, s.jitter_s, s.overlap, s.catch_up, s.catch_up_window_s, s.state,
  s.pause_reason, s.next_at, s.due_at, s.event_seq, s.version, s.created_by, s.created_at, s.updated_at
"""
_TIMING: Final = ("cron", "every_s", "at", "timezone", "start_at", "end_at", "jitter_s")
_RULES: Final = ("overlap", "catch_up", "catch_up_window_s")
CHANGEABLE: Final = (
    *("name", "type_name", "type_version", "spec", "labels", "priority", *_TIMING, *_RULES),
    *("state", "pause_reason", "next_at", "due_at"),
)
_SCHEDULES: Final = Named("schedules", "schedule", "s", {"spec": "jsonb", "labels": "jsonb"})
add, change, delete, emit = _SCHEDULES.add, _SCHEDULES.change, _SCHEDULES.delete, _SCHEDULES.emit

ScheduleRow = dict[str, Any]


def timing_of(row: Values) -> Timing:
    """Return when the schedule of a row fires."""
    return Timing(**{name: row[name] for name in _TIMING})


def rules_of(row: Values) -> Rules:
    """Return what becomes of its late and overlapping firings."""
    return Rules(**{name: row[name] for name in _RULES})


def template_of(row: Values) -> Template:
    """Return what it declares."""
    return Template(row["type"], row["spec"], row["type_version"], row["labels"], row["priority"])


def standing_of(row: Values) -> Standing:
    """Return it as a look needs it; the row comes from `lock` and is due."""
    return Standing(
        row["id"],
        timing_of(row),
        rules_of(row),
        row["next_at"],
        row["queued"],
        row["open_runs"],
        row["known"],
    )


def find(
    connection: Connection, tenant_id: UUID, schedule_id: UUID, *, locked: bool = False
) -> ScheduleRow | None:
    """Return a schedule; with `locked` nobody fires or changes it before the transaction ends."""
    statement = f"SELECT {_COLUMNS} FROM schedules s WHERE s.tenant_id = :tenant AND s.id = :id"  # noqa: S608 - constant
    lock = " FOR UPDATE" if locked else ""
    row = connection.execute(text(statement + lock), {"tenant": tenant_id, "id": schedule_id}).first()
    return _row(row) if row else None


def page(
    connection: Connection, tenant_id: UUID, wanted: PageRequest, state: str | None
) -> Page[ScheduleRow]:
    """Return the schedules by name."""
    select = f"SELECT {_COLUMNS} FROM schedules s WHERE s.tenant_id = :tenant"  # noqa: S608 - constant
    return _SCHEDULES.page(connection, tenant_id, select, wanted, state)


def to_look_at(system: Database, limit: int) -> list[tuple[UUID, UUID]]:
    """Return tenant and id of the schedules that somebody has to look at now, the longest overdue first."""
    return [(row[0], row[1]) for row in system.call("SELECT * FROM schedules_to_look_at(%s)", (limit,))]


def lock(connection: Connection, tenant_id: UUID, ids: Sequence[UUID]) -> list[ScheduleRow]:
    """Lock those of the schedules that nobody else has; return their rows.

    Beside its columns a row has the database's time as `now`, `open_runs` that have not ended, the number of
    firings `queued`, the first of them as `waiting` (or None), the `planned` ones that are due, and the
    places in the timetable that are `known` in the history though they lie ahead.
    """
    rows = connection.execute(
        text(f"""
          WITH mine AS MATERIALIZED (
            SELECT * FROM schedules WHERE tenant_id = :tenant AND id = ANY (:ids)
            ORDER BY id FOR UPDATE SKIP LOCKED)
          SELECT clock_timestamp() AS now, {_COLUMNS},
            ARRAY(SELECT f.run_id FROM schedule_firings f
                  JOIN runs r ON r.tenant_id = f.tenant_id AND r.id = f.run_id
                  WHERE f.tenant_id = s.tenant_id AND f.schedule_id = s.id AND f.unfinished
                    AND r.finished_at IS NULL ORDER BY f.id) AS open_runs,
            (SELECT count(*) FROM schedule_firings f WHERE f.tenant_id = s.tenant_id AND f.schedule_id = s.id
               AND f.outcome || '' = 'queued') AS queued,
            ARRAY(SELECT jsonb_build_object('scheduled_at', f.scheduled_at, 'outcome', f.outcome)
                  FROM schedule_firings f WHERE f.tenant_id = s.tenant_id AND f.schedule_id = s.id
                  AND f.outcome || '' = 'planned' AND f.due_at <= clock_timestamp()
                  ORDER BY f.due_at LIMIT 100) AS planned,
            ARRAY(SELECT f.scheduled_at FROM schedule_firings f WHERE f.tenant_id = s.tenant_id
                  AND f.schedule_id = s.id AND f.cause = 'time' AND f.scheduled_at >= s.next_at) AS known,
            (SELECT min(f.scheduled_at) FROM schedule_firings f WHERE f.tenant_id = s.tenant_id
               AND f.schedule_id = s.id AND f.outcome || '' = 'queued') AS waiting
          FROM mine s"""),  # noqa: S608 - constant columns
        {"tenant": tenant_id, "ids": list(ids)},
    ).all()
    return [_row(row) for row in rows]


def note(
    connection: Connection, tenant_id: UUID, firings: Sequence[Values], schedules: Sequence[Values]
) -> None:
    """Write what was decided about locked schedules, with its events."""
    values = {"firings": _dump(firings), "schedules": _dump(schedules), "tenant": tenant_id}
    statement = "SELECT note_firings(:tenant, CAST(:firings AS jsonb), CAST(:schedules AS jsonb))"
    connection.execute(text(statement), values)


def _dump(value: Any) -> str:
    return json.dumps(value, default=str)


def _row(row: Row[Any]) -> ScheduleRow:
    return dict(row._mapping)
