"""What each queue has to do."""

from __future__ import annotations

from dataclasses import dataclass

from app.db.engine import Database


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """Steps of a queue by where they are, runs that wait for room in it, who serves it; ages in seconds.

    `oldest_s` is that of the ready step that waits longest, `oldest_run_s` of the run, None without any.
    """

    queue: str
    sent: int
    running: int
    unsent: int
    waiting_runs: int
    oldest_s: float | None
    oldest_run_s: float | None
    workers: int
    slots: int


def counts(system: Database) -> list[QueueCounts]:
    """Return the counts of every queue with work or a live worker; raises Unavailable."""
    rows = system.call(
        "SELECT queue, sent, running, unsent, waiting_runs, oldest_s, oldest_run_s, workers, slots"
        " FROM queue_counts()"
    )
    return [QueueCounts(*row) for row in rows]
