"""What is read for a scrape, no oftener than it changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from app.db.engine import Database
from app.db.gauges import Gauge, read_flag_facts
from app.domain.errors import Unavailable
from app.domain.flags import FLAGS, FlagRule, decide

FRESH_S: Final = 5.0
SLOW_S: Final = 60.0
"""For what costs more to read, and changes more slowly."""
TENANTS_AT_MOST: Final = 10_000


class PlatformGauges:
    """Reads gauges at a scrape, keeps them for `fresh_s` seconds; none while the database is away."""

    def __init__(
        self, read: Callable[[], Sequence[Gauge]], clock: Callable[[], float], fresh_s: float = FRESH_S
    ) -> None:
        self._read = read
        self._clock = clock
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._gauges: Sequence[Gauge] = ()

    def __call__(self) -> Sequence[Gauge]:
        """Return the gauges."""
        with self._lock:
            if self._clock() - self._read_at >= self._fresh_s:
                try:
                    self._gauges = self._read()
                except Unavailable:
                    self._gauges = ()
                self._read_at = self._clock()
            return self._gauges


def flag_gauges(system: Database) -> list[Gauge]:
    """Return for how many active tenants each flag is on; of the first ten thousand. Raises Unavailable."""
    facts = read_flag_facts(system, TENANTS_AT_MOST)
    counted = []
    for name, flag in sorted(FLAGS.items()):
        rule, said = facts.rules.get(name, FlagRule()), facts.overrides.get(name, {})
        on = sum(decide(flag, rule, said.get(each), each).on for each in facts.tenants)
        counted.append(("quantum_flag_tenants", name, float(on)))
    return counted
