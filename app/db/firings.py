"""The history of a schedule's firings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

_COLUMNS: Final = (
    "id, schedule_id, scheduled_at, cause, outcome, reason, intent_id, run_id, due_at, created_at"
)
Values = Mapping[str, Any]


def now(connection: Connection) -> datetime:
    """Return the database's time."""
    moment: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment


def plan(
    connection: Connection,
    tenant_id: UUID,
    schedule_id: UUID,
    times: Sequence[datetime],
    due: Sequence[datetime],
) -> int:
    """Plan back-filled firings, each to start when it is `due`; return how many were not there yet."""
    statement = """
      INSERT INTO schedule_firings (tenant_id, schedule_id, scheduled_at, cause, outcome, due_at)
      SELECT :tenant, :schedule, t.at, 'backfill', 'planned', t.due
      FROM unnest(CAST(:times AS timestamptz[]), CAST(:due AS timestamptz[])) AS t (at, due)
      ON CONFLICT (tenant_id, schedule_id, scheduled_at, cause) DO NOTHING
    """
    values = {"tenant": tenant_id, "schedule": schedule_id, "times": list(times), "due": list(due)}
    return connection.execute(text(statement), values).rowcount


def find(
    connection: Connection, tenant_id: UUID, schedule_id: UUID, scheduled_at: datetime, cause: str
) -> Values:
    """Return one firing, which must be there."""
    statement = (
        f"SELECT {_COLUMNS} FROM schedule_firings WHERE tenant_id = :tenant"  # noqa: S608 - constant
        " AND schedule_id = :schedule AND scheduled_at = :at AND cause = :cause"
    )
    values = {"tenant": tenant_id, "schedule": schedule_id, "at": scheduled_at, "cause": cause}
    return dict(connection.execute(text(statement), values).mappings().one())


def page(connection: Connection, tenant_id: UUID, schedule_id: UUID, wanted: PageRequest) -> Page[Values]:
    """Return the firings in the order of the timetable, the latest first."""
    values: dict[str, Any] = {"tenant": tenant_id, "schedule": schedule_id, "limit": wanted.limit + 1}
    where = ""
    if wanted.after is not None:
        where = " AND (scheduled_at, cause) < (CAST(:at AS timestamptz), :cause)"
        values["at"], values["cause"] = decode_cursor(wanted.after, 2)
    statement = (
        f"SELECT {_COLUMNS} FROM schedule_firings"  # noqa: S608 - constant
        f" WHERE tenant_id = :tenant AND schedule_id = :schedule{where}"
        " ORDER BY scheduled_at DESC, cause DESC LIMIT :limit"
    )
    rows = [dict(row) for row in connection.execute(text(statement), values).mappings()]
    found = tuple(rows[: wanted.limit])
    return Page(found, encode_cursor(*_place(found[-1])) if len(rows) > wanted.limit else None)


def _place(row: Values) -> tuple[str, str]:
    return row["scheduled_at"].isoformat(), row["cause"]
