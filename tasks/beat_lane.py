"""One lane of beat: jobs that wait for each other, while those of other lanes do not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from app.db.engine import Database
from app.domain.errors import QuantumError, Unavailable
from app.observability.context import log_context
from app.services.schedule import claim_due, note_end
from tasks.beat_table import Job

log = logging.getLogger(__name__)

TICK_S = 0.5


class Lane(threading.Thread):
    """Looks twice a second which of its jobs are due, runs those it can claim in their order.

    What it claims no other beat runs, so two of them are safe.
    """

    def __init__(self, name: str, jobs: Sequence[Job], system: Database) -> None:
        super().__init__(name=f"beat-{name}", daemon=True)
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
            due = claim_due(self._system, {name: job.every_s for name, job in self._jobs.items()})
        except Unavailable:
            log.warning("beat_waits_for_database")
            return
        for name in due:
            with log_context(job=name):
                self._run_job(self._jobs[name])

    def _run_job(self, job: Job) -> None:
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
            note_end(self._system, job.name, fault)
        except QuantumError:
            log.warning("beat_job_not_noted")

    def stop(self) -> None:
        """End the thread behind the job that it runs."""
        self._ended.set()
