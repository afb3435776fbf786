"""Beat's jobs: each due one is claimed by one of however many beats run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from app.db.engine import Database


def claim_due(system: Database, every_s: Mapping[str, float]) -> list[str]:
    """Claim the named jobs that are due by database time; each is due again after its seconds."""
    rows = system.call(
        "SELECT name FROM unnest(%s::text[], %s::interval[]) AS j (name, every) WHERE claim_job(name, every)",
        (list(every_s), [timedelta(seconds=seconds) for seconds in every_s.values()]),
    )
    return [row[0] for row in rows]


def record(system: Database, name: str, error: str | None) -> None:
    """Note how the job ended: `error` is None when it ended well. As it was before is no news."""
    system.call(
        "UPDATE beat_jobs SET last_error = %(error)s WHERE name = %(name)s"
        " AND last_error IS DISTINCT FROM %(error)s",
        {"error": error, "name": name},
    )
