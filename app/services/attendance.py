"""A process that serves says that it lives, until the schema leaves its release behind."""

from __future__ import annotations

import multiprocessing.util
import threading
from collections.abc import Callable
from typing import Final

from app.db import processes
from app.db.engine import Database
from app.domain.errors import QuantumError
from app.domain.upgrades import Process, WrongRelease
from app.observability.logging import get_log

log = get_log(__name__)

BEAT_S: Final = 5.0
LEAVE_WITHIN_S: Final = 3.0
WELCOME: Final = "welcome"
_REASONS: Final = {
    "too_old": "the schema was contracted beyond what this release knows: start the newer release",
    "too_new": "the schema is older than this release needs: run `quantum migrate`",
}


class Attendance:
    """The presence of one process; `end` ends it in good order, `system` is a database of the system role."""

    def __init__(self, system: Database, process: Process, end: Callable[[], object]) -> None:
        self._system = system
        self._process = process
        self._end = end
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attendance", daemon=True)

    def start(self) -> None:
        """Ask whether this process may work, go on saying that it lives; raises WrongRelease when it may not.

        A process that begins while the database is away asks as soon as it is back.
        """
        try:
            self._say()
        except WrongRelease:
            raise
        except QuantumError as away:
            log.warning("attendance_waits_for_database", reason=str(away))
        self._thread.start()
        # The end of the interpreter, and of a process that `multiprocessing` forked, as the API's are.
        multiprocessing.util.Finalize(None, self.leave, exitpriority=1)

    def leave(self) -> None:
        """Say that this process ends; harmless when repeated."""
        if self._left.is_set():
            return
        self._left.set()
        if self._thread.is_alive():
            self._thread.join(LEAVE_WITHIN_S)  # what it says now would come behind the good-bye
        try:
            processes.depart(self._system, self._process.boot)
        except QuantumError as away:
            log.warning("departure_not_noted", reason=str(away))  # its silence will tell

    def _say(self) -> None:
        verdict = processes.attend(self._system, self._process)
        if verdict != WELCOME:
            raise WrongRelease(_REASONS[verdict])

    def _run(self) -> None:
        while not self._left.wait(BEAT_S):
            try:
                self._say()
            except WrongRelease as wrong:
                log.critical("release_left_behind", reason=str(wrong))
                self._end()
                return
            except QuantumError as away:
                log.warning("attendance_not_noted", reason=str(away))
            except Exception:
                # Presence that ends would let a contract take away what this process uses: tell it and go on.
                log.exception("attendance_raised")
