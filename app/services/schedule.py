"""The claim of jobs that are due, so that two beats never run one job at once; who goes on is seen by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from app.db import beat
from app.db.beat import BeatJob
from app.db.engine import Database

MARK_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BeatLane:
    """A lane of beat with its jobs; `last_at` is when any beat claimed one of them last."""

    name: str
    last_at: datetime
    jobs: tuple[BeatJob, ...]


def claim_due(system: Database, lane: str, every_s: Mapping[str, float]) -> list[str]:
    """Claim the named jobs that are due by database time, and set when each is due again, in seconds."""
    return beat.claim_due(system, lane, every_s)


def note_end(system: Database, name: str, fault: str | None) -> None:
    """Note how the job ended: `fault` is None when it ended well."""
    beat.record(system, name, fault)


def list_lanes(system: Database) -> list[BeatLane]:
    """Return the lanes that any beat has ever had, by name; raises Unavailable."""
    found: dict[str, list[BeatJob]] = {}
    for job in beat.jobs(system):
        found.setdefault(job.lane, []).append(job)
    return [BeatLane(name, max(job.last_at for job in jobs), tuple(jobs)) for name, jobs in found.items()]


class LaneMark:
    """Tells in a row that a thread of beat without jobs of its own goes on, at most every `MARK_EVERY_S`."""

    def __init__(self, system: Database, lane: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._system = system
        self._lane = lane
        self._clock = clock
        self._next_at = clock()

    def note(self) -> None:
        """Tell it, if it is time to; raises Unavailable."""
        if self._clock() >= self._next_at:
            self._next_at = self._clock() + MARK_EVERY_S
            beat.claim_due(self._system, self._lane, {self._lane: MARK_EVERY_S})
