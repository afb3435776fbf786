"""The gauges of the platform, read no oftener than they change."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from app.db.engine import Database
from app.db.gauges import Gauge, read_gauges
from app.domain.errors import Unavailable

FRESH_S = 5.0


class PlatformGauges:
    """Reads the gauges at a scrape and keeps them for `FRESH_S` seconds; none while the database is away."""

    def __init__(self, system: Database, clock: Callable[[], float]) -> None:
        self._system = system
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._gauges: Sequence[Gauge] = ()

    def __call__(self) -> Sequence[Gauge]:
        """Return the gauges."""
        with self._lock:
            if self._clock() - self._read_at >= FRESH_S:
                try:
                    self._gauges = read_gauges(self._system)
                except Unavailable:
                    self._gauges = ()
                self._read_at = self._clock()
            return self._gauges
