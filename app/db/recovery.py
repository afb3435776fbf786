"""The work lists of recovery across tenants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from app.db import hot
from app.db.engine import Database
from app.domain.leases import RunRef
from app.domain.lost import Candidate


def due_waits(system: Database, limit: int) -> list[RunRef]:
    """Make up to `limit` steps ready whose wait is over; return their runs."""
    return [RunRef(*row) for row in system.call("SELECT * FROM due_waits(%s)", (limit,))]


def unsent_runs(system: Database, limit: int, older_s: float) -> list[RunRef]:
    """The runs of up to `limit` steps that have been ready and unsent for `older_s` seconds."""
    rows = system.call("SELECT * FROM unsent_runs(%s, %s)", (limit, timedelta(seconds=older_s)))
    return [RunRef(*row) for row in rows]


def held_runs_due(system: Database) -> list[RunRef]:
    """The first run of each tenant with steps that wait for a place, although one is free."""
    return [RunRef(*row) for row in system.call("SELECT * FROM held_runs_due()")]


def release_dead(system: Database, interval_s: float, misses: int) -> list[RunRef]:
    """Give back what workers held that missed `misses` heartbeats of `interval_s` seconds; return the runs.

    Nobody is dead before the database has answered without a gap for that long.
    """
    rows = system.call("SELECT * FROM release_dead(%s, %s)", (timedelta(seconds=interval_s), misses))
    return list(dict.fromkeys(RunRef(*row) for row in rows))


def candidates_lost(system: Database, limit: int) -> list[Candidate]:
    """Up to `limit` steps that were sent, are ready, and were not claimed for three seconds; oldest first."""
    return [Candidate(*row) for row in system.call("SELECT * FROM candidates_lost(%s)", (limit,))]


def mark_lost(system: Database, candidates: Sequence[Candidate]) -> list[RunRef]:
    """Make the steps unsent whose epoch is still the candidate's; return the runs of those."""
    by_run: dict[RunRef, dict[str, int]] = defaultdict(dict)
    for candidate in candidates:
        by_run[RunRef(candidate.tenant_id, candidate.run_id)][candidate.key] = candidate.epoch
    return [
        run for run, epochs in by_run.items() if hot.unmark_sent(system, run.tenant_id, run.run_id, epochs)
    ]
