"""The bell of a process that writes events: after its commits it wakes who numbers them, gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.domain.errors import Unavailable
from app.services.submit import SendLater, nothing_to_send

GATHER_S = 0.05


class EventBell:
    """Rings at most once in `GATHER_S`, in a thread of its own: the caller waits for nothing."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._wanted = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self) -> None:
        """Wake the listeners soon."""
        if not self._wanted.is_set():
            self._wanted.set()
        if self._thread is None or not self._thread.is_alive():  # a thread does not survive a fork
            with self._starting:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="event-bell", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        pause = threading.Event()
        while self._wanted.wait():
            pause.wait(GATHER_S)
            self._wanted.clear()
            try:
                self._tell()
            except Unavailable:
                continue  # who listens polls as well


class RingingSender:
    """Sends as another does; whoever hands over a job has just committed events, so the bell rings."""

    def __init__(self, sender: SendLater, bell: EventBell) -> None:
        self._sender = sender
        self._bell = bell

    def epoch(self) -> str | None:
        """Return the broker's epoch, as the other tells it."""
        return self._sender.epoch()

    def later(self, job: Callable[[], None]) -> None:
        """Hand the job over, ring; a job that does nothing wakes no thread."""
        if job is not nothing_to_send:
            self._sender.later(job)
        self._bell.ring()
