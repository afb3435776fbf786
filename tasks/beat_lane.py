"""One lane of beat: jobs that wait for each other, while those of other lanes do not."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass

from app.db.engine import Database
from app.domain.errors import QuantumError, Unavailable
from app.observability.context import log_context
from app.services.schedule import claim_due, note_end
from tasks.beat_table import Job

log = logging.getLogger(__name__)

TICK_S = 0.5
STUCK_S = 60.0
"""How long a job may take before it is told, with the place in the code where it is."""


@dataclass(frozen=True, slots=True, eq=False)
class _Busy:
    """What the lane is at, since when on the monotonic clock."""

    job: str
    since: float


class Lane(threading.Thread):
    """Looks twice a second which of its jobs are due, runs those it can claim in their order.

    What it claims no other beat runs, so two of them are safe.
    """

    def __init__(self, name: str, jobs: Sequence[Job], system: Database) -> None:
        super().__init__(name=f"beat-{name}", daemon=True)
        self._lane = name
        self._busy: _Busy | None = None
        self._told: _Busy | None = None
        self._jobs = {job.name: job for job in jobs}
        self._system = system
        self._ended = threading.Event()

    def run(self) -> None:
        """Take turns until `stop` is called."""
        while not self._ended.is_set():
            try:
                self.turn()
            except Exception:
                # The thread must outlive whatever one look runs into: nobody else does this beat's jobs.
                log.exception("beat_lane_failed")
            self._ended.wait(TICK_S)

    def turn(self) -> None:
        """Claim the jobs that are due, run them; a database that is away is waited for."""
        try:
            due = claim_due(self._system, self._lane, {name: job.every_s for name, job in self._jobs.items()})
        except Unavailable:
            log.warning("beat_waits_for_database")
            return
        for name in due:
            with log_context(job=name):
                self._run_job(self._jobs[name])

    def _run_job(self, job: Job) -> None:
        fault: str | None = None
        began = time.monotonic()
        self._busy = _Busy(job.name, began)
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
        finally:
            self._busy = None
        try:
            note_end(self._system, job.name, fault)
        except QuantumError:
            log.warning("beat_job_not_noted")

    def tell_if_stuck(self) -> None:
        """Log, once for each time, which job has kept the lane for a minute, where in the code it is."""
        busy = self._busy
        if busy is None or busy is self._told or time.monotonic() - busy.since < STUCK_S:
            return
        self._told = busy
        frame = sys._current_frames().get(self.ident or 0)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        log.error("beat_lane_stuck", extra={"lane": self._lane, "job": busy.job, "stack": stack})

    def stop(self) -> None:
        """End the thread behind the job that it runs."""
        self._ended.set()
