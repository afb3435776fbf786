"""The levels of loggers that operators have set."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.log_levels import LevelNow, LevelRule

_IN_FORCE: Final = "level IS NOT NULL AND coalesce(ends_at > clock_timestamp(), true)"
_NOW: Final = (
    "SELECT module, level, CAST(extract(epoch FROM ends_at - clock_timestamp()) AS float)"  # noqa: S608 - constant
    f" FROM log_levels WHERE {_IN_FORCE} ORDER BY module"
)
_READ: Final = (
    "SELECT module, level, ends_at, reason, changed_by, version, updated_at,"  # noqa: S608 - constant
    f" {_IN_FORCE} AS in_force FROM log_levels"
)
_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('log levels', 11))")
_SET: Final = text(
    "INSERT INTO log_levels AS l (module, level, ends_at, reason, changed_by) VALUES (:module, :level,"
    " clock_timestamp() + CAST(:seconds AS float) * interval '1 second', :reason, :by)"
    " ON CONFLICT (module) DO UPDATE SET level = excluded.level, ends_at = excluded.ends_at,"
    " reason = excluded.reason, changed_by = excluded.changed_by, version = l.version + 1,"
    " updated_at = clock_timestamp()"
)
_TIDY: Final = text(
    f"DELETE FROM log_levels WHERE NOT ({_IN_FORCE}) AND updated_at < clock_timestamp() - interval '30 days'"  # noqa: S608 - constant
)


def levels_now(database: Database) -> list[LevelNow]:
    """Return the levels in force, in one round trip, as either role; raises Unavailable."""
    return [LevelNow(*row) for row in database.call(_NOW)]


def rules(connection: Connection) -> list[LevelRule]:
    """Return the levels in force, by module."""
    return [LevelRule(*row) for row in connection.execute(text(f"{_READ} WHERE {_IN_FORCE} ORDER BY module"))]


def lock(connection: Connection) -> None:
    """Let nobody else change a level until the commit."""
    connection.execute(_LOCK)


def find(connection: Connection, module: str) -> LevelRule:
    """Return what is said of a logger."""
    row = connection.execute(text(f"{_READ} WHERE module = :module"), {"module": module}).first()
    return LevelRule(*row) if row is not None else LevelRule(module)


def put(
    connection: Connection,
    module: str,
    level: str | None,
    seconds: float | None,
    reason: str,
    changed_by: str,
) -> LevelRule:
    """Say the level of a logger for so many seconds, None without an end; forget rules of old."""
    values = {"module": module, "level": level, "seconds": seconds, "reason": reason, "by": changed_by}
    connection.execute(_SET, values)
    connection.execute(_TIDY)
    return find(connection, module)
