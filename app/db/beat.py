"""Beat's jobs: each due one is claimed by one of however many beats run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.db.engine import Database


@dataclass(frozen=True, slots=True)
class BeatJob:
    """A job of a lane: when it was claimed last, how many seconds it is overdue, how it failed if it did."""

    lane: str
    name: str
    last_at: datetime
    late_s: float
    last_error: str | None


def claim_due(system: Database, lane: str, every_s: Mapping[str, float]) -> list[str]:
    """Claim the named jobs of a lane that are due by database time; each is due again after its seconds."""
    rows = system.call(
        "SELECT name FROM unnest(%s::text[], %s::interval[]) AS j (name, every)"
        " WHERE claim_job(name, every, %s)",
        (list(every_s), [timedelta(seconds=seconds) for seconds in every_s.values()], lane),
    )
    return [row[0] for row in rows]


def jobs(system: Database) -> list[BeatJob]:
    """Return every job that was ever claimed, by lane; raises Unavailable."""
    rows = system.call(
        "SELECT lane, name, last_at, greatest(extract(epoch FROM clock_timestamp() - next_at), 0)::float,"
        " last_error FROM beat_jobs ORDER BY lane, name"
    )
    return [BeatJob(*row) for row in rows]


def record(system: Database, name: str, error: str | None) -> None:
    """Note how the job ended: `error` is None when it ended well. As it was before is no news."""
    system.call(
        "UPDATE beat_jobs SET last_error = %(error)s WHERE name = %(name)s"
        " AND last_error IS DISTINCT FROM %(error)s",
        {"error": error, "name": name},
    )


def failing(system: Database) -> list[tuple[str, str]]:
    """Return the jobs that ended with an error when they last ran, each with it; raises Unavailable."""
    rows = system.call("SELECT name, last_error FROM beat_jobs WHERE last_error IS NOT NULL ORDER BY name")
    return [(str(name), str(error)) for name, error in rows]
