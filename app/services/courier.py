"""Errands that an operation's process runs beside the operation, gathered for about a second."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Errand = Callable[[], None]

EVERY_S = 1.0


class Courier:
    """Runs what is posted in a thread of its own, `every_s` seconds after the first post of a round.

    The thread lives only while there are errands, so a process whose operations report nothing has none. An
    operation never waits for an errand: the database may be away as long as it likes.
    """

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._errands: list[Errand] = []
        self._lock = threading.Lock()
        self._never = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether errands are waiting, or have been within the last round."""
        return self._thread is not None

    def post(self, errand: Errand) -> None:
        """Have the errand run in the next round."""
        with self._lock:
            self._errands.append(errand)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._never.wait(self._every_s)
            with self._lock:
                errands, self._errands = self._errands, []
                if not errands:
                    self._thread = None
                    return
            for errand in errands:
                try:
                    errand()
                except Exception:
                    # A report that fails must not end the thread that brings the others.
                    log.exception("errand_failed")
