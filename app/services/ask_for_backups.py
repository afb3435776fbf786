"""The daily backup: beat asks whether one is due, a process of its own makes it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from app.db import backups
from app.db.engine import Database
from app.domain.backups import is_base_due, is_due
from app.observability.logging import get_log

log = get_log(__name__)


class Running(Protocol):
    """A process that was started."""

    def ended(self) -> int | None:
        """Return its exit code, None while it runs."""


class BackupClock:
    """Looks as a job of beat does: at once done, whatever the backup takes."""

    def __init__(
        self,
        system: Database,
        hour: int,
        now: Callable[[], datetime],
        start: Callable[[], Running],
        base_days: int = 7,
    ) -> None:
        self._system = system
        self._hour = hour
        self._base_days = base_days
        self._now = now
        self._start = start
        self._running: Running | None = None

    def look(self) -> bool:
        """Start the process when a backup is due and nobody makes one; tell whether it did.

        Two that look at once may start two processes: the lease lets one of them make the backup. Raises
        Unavailable.
        """
        if self._running is not None:
            code = self._running.ended()
            if code is None:
                return False
            (log.info if code == 0 else log.error)("backup_process_ended", code=code)
            self._running = None
        standing, now = backups.standing(self._system), self._now()
        if not (is_due(standing, now, self._hour) or is_base_due(standing, now, self._base_days)):
            return False
        self._running = self._start()
        log.info("backup_process_started")
        return True
