"""The scheduler of beat: it claims due rows in PostgreSQL, then runs them here."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.beat import Scheduler

from app.bootstrap import BeatParts
from app.domain.errors import QuantumError, Unavailable
from app.observability.context import log_context
from app.services.admission import Admitter
from app.services.attendance import Attendance
from app.services.run_bulk import BulkRunner
from app.services.schedule import claim_due, note_end
from app.services.timers import Timers
from tasks.beat_table import Job, beat_table

log = logging.getLogger(__name__)

TICK_S = 0.5


class PostgresScheduler(Scheduler):
    """Ticks twice a second; what it claims no other beat runs, so two of them are safe."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs: dict[str, Job] = {}
        self._timers: Timers | None = None
        self._admitter: Admitter | None = None
        self._bulk: BulkRunner | None = None
        self._attendance: Attendance | None = None

    def setup_schedule(self) -> None:
        """Take the jobs from the table instead of a schedule of tasks."""

    def tick(self, *_args: Any, **_kwargs: Any) -> float:
        """Run the jobs that are due, in the order of the table; return the seconds until the next look."""
        parts: BeatParts = self.app.container.beat
        if self._attendance is None:
            parts.attendance.start()
            self._attendance = parts.attendance
        if not self._jobs:
            parts.pulse("beat").start()
            self._jobs = {job.name: job for job in beat_table(parts)}
        if self._timers is None:
            self._timers = Timers(parts.dispatch.system)
            self._timers.start()
            self._admitter = Admitter(parts.submit.admission)
            self._admitter.start()
        if self._bulk is None:
            self._bulk = BulkRunner(parts.bulk, parts.dispatch.system)
            self._bulk.start()
        self._timers.advance(parts.dispatch.engine)
        try:
            due = claim_due(parts.dispatch.system, {name: job.every_s for name, job in self._jobs.items()})
        except Unavailable:
            log.warning("beat_waits_for_database")
            return TICK_S
        for name in due:
            self._run(parts, self._jobs[name])
        return TICK_S

    def _run(self, parts: BeatParts, job: Job) -> None:
        with log_context(job=job.name):
            self._run_named(parts, job)

    def _run_named(self, parts: BeatParts, job: Job) -> None:
        fault: str | None = None
        began = time.monotonic()
        try:
            job.run()
            log.debug("beat_job_ended", extra={"ms": round((time.monotonic() - began) * 1000, 1)})
        except QuantumError as error:
            fault = str(error)
            log.warning("beat_job_failed", extra={"reason": fault})
        except Exception as error:
            # One broken job must not keep recovery from running: it is told in the job's row and in the log.
            fault = repr(error)
            log.exception("beat_job_raised")
        try:
            note_end(parts.dispatch.system, job.name, fault)
        except QuantumError:
            log.warning("beat_job_not_noted")

    def close(self) -> None:
        """End the threads with beat."""
        if self._timers is not None:
            self._timers.stop()
        if self._admitter is not None:
            self._admitter.stop()
        if self._bulk is not None:
            self._bulk.stop()
        if self._attendance is not None:
            self._attendance.leave()

    @property
    def schedule(self) -> dict[str, Any]:
        """The schedule of Celery tasks: none."""
        return {}
