"""How many worker processes each queue has, as this process saw it last."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from app.db.engine import Connection
from app.db.lots import queue_slots

FRESH_FOR_S = 2.0


class Slots(Protocol):
    """Tells the worker processes of a queue."""

    def of(self, connection: Connection, queue: str) -> int:
        """Return how many live processes take messages of the queue, 0 when nobody knows."""


class SeenSlots:
    """Reads them from the workers' rows, at most once in `FRESH_FOR_S` seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: Mapping[str, int] = {}
        self._read_at = float("-inf")

    def of(self, connection: Connection, queue: str) -> int:
        """Return how many live processes take messages of the queue; 0 for a queue without any."""
        if self._clock() - self._read_at > FRESH_FOR_S:
            self._seen, self._read_at = queue_slots(connection), self._clock()
        return self._seen.get(queue, 0)


class NoSlots:
    """Knows of none, so that each step has a message of its own."""

    def of(self, _connection: Connection, _queue: str) -> int:
        """Return 0."""
        return 0
