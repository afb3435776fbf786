"""The end of a worker that has failed, yet does not end by itself."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

IDLE_S: Final = 10.0
"""How long a worker that has failed may be left with nothing to execute."""
LOOK_S: Final = 1.0


class LastResort:
    """Ends the process that failed once it has executed nothing for `IDLE_S` seconds.

    After an error in its loop Celery stops the worker, which waits for its pool. That wait was seen to last
    for ever: such a worker takes no message, while its heart beats on, so that nobody takes it for dead.
    """

    def __init__(
        self,
        failed: Callable[[], int | None],
        busy: Callable[[], bool],
        end: Callable[[int], None] = os._exit,
    ) -> None:
        self._failed = failed
        self._busy = busy
        self._end = end
        self._idle_since: float | None = None

    def start(self) -> None:
        """Begin to watch."""
        threading.Thread(target=self._run, name="last-resort", daemon=True).start()

    def look(self, now: float) -> None:
        """End the process if it is time; `failed` gives the exit code, 0 or None while nothing is wrong."""
        code = self._failed()
        if not code or self._busy():
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= IDLE_S:
            log.critical("worker_does_not_end", extra={"exit_code": code})
            self._end(code)

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self.look(time.monotonic())
            pause.wait(LOOK_S)
