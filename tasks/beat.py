"""The scheduler of beat: threads that claim due rows in PostgreSQL, then run them here."""

from __future__ import annotations

from typing import Any

from celery.beat import Scheduler

from app.bootstrap.beat import BeatParts
from app.services.admission import Admitter
from app.services.attendance import Attendance
from app.services.run_bulk import BulkRunner
from app.services.timers import Timers
from tasks.beat_lane import TICK_S, Lane
from tasks.beat_table import beat_table


class PostgresScheduler(Scheduler):
    """Keeps its lanes going; its own tick sends what timers have let go on, tells which lane is stuck."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timers: Timers | None = None
        self._threads: list[Timers | Admitter | BulkRunner | Lane] = []
        self._lanes: list[Lane] = []
        self._attendance: Attendance | None = None

    def setup_schedule(self) -> None:
        """Take the jobs from the table instead of a schedule of tasks."""

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Begin at the first call; advance what timers fired; return the seconds until the next look."""
        parts: BeatParts = self.app.container.beat
        if self._timers is None:
            self._timers = self._begin(parts)
        self._timers.advance(parts.dispatch.engine)
        for lane in self._lanes:
            lane.tell_if_stuck()
        return TICK_S

    def _begin(self, parts: BeatParts) -> Timers:
        parts.attendance.start()
        self._attendance = parts.attendance
        parts.pulse("beat").start()
        system = parts.dispatch.system
        timers = Timers(system)
        self._lanes = [Lane(name, jobs, system) for name, jobs in beat_table(parts).items()]
        admitter, bulk = Admitter(parts.submit.admission, system), BulkRunner(parts.bulk, system)
        self._threads = [timers, admitter, bulk, *self._lanes]
        for thread in self._threads:
            thread.start()
        return timers

    def close(self) -> None:
        """End the threads with beat."""
        for thread in self._threads:
            thread.stop()
        if self._attendance is not None:
            self._attendance.leave()

    @property
    def schedule(self) -> dict[str, Any]:
        """The schedule of Celery tasks: none."""
        return {}
