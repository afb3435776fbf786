"""What each process does for its operators every other second, beside its work."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Final

from app.observability.logging import get_log

EVERY_S: Final = 2.0

log = get_log(__name__)

Care = Callable[[], object]

_COUNTING = threading.Lock()
os.register_at_fork(
    before=_COUNTING.acquire, after_in_parent=_COUNTING.release, after_in_child=_COUNTING.release
)


class Pulse:
    """Does its cares one after the other, then tells its figures, in a thread of its own.

    No fork falls among the figures: a pool process that inherited a lock of the metrics would wait for ever.
    """

    def __init__(self, cares: Sequence[Care], figures: Sequence[Care], every_s: float = EVERY_S) -> None:
        self._cares = tuple(cares)
        self._figures = tuple(figures)
        self._every_s = every_s
        self._ended = threading.Event()

    def beat(self) -> None:
        """Do all of it once; what fails is told, the rest is done."""
        for care in self._cares:
            self._do(care)
        with _COUNTING:
            for figure in self._figures:
                self._do(figure)

    def start(self) -> None:
        """Beat from now on, as long as the process lives."""
        threading.Thread(target=self._run, name="pulse", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()

    def _do(self, care: Care) -> None:
        try:
            care()
        except Exception:
            # Whatever one of them runs into, the process goes on, with all the others.
            log.exception("pulse_failed")

    def _run(self) -> None:
        self.beat()
        while not self._ended.wait(self._every_s):
            self.beat()
