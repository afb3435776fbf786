"""The circuit breakers of one process, each around something outside, told as metrics."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

from app.domain.breakers import Breaker, BreakerRules, after
from app.observability.metrics import BREAKER_OPENINGS, BREAKERS_OPEN

log = logging.getLogger(__name__)


class Guard:
    """Tells whether a dependency may be tried, learns from what came of it; threads may share it.

    It waits for nobody, counts no try itself: who asks `allows` tells `succeeded` or `failed` afterwards.
    """

    def __init__(
        self,
        dependency: str,
        rules: BreakerRules,
        clock: Callable[[], float] = time.monotonic,
        drawn: Callable[[], float] = random.random,
    ) -> None:
        self.dependency = dependency
        self._rules = rules
        self._clock = clock
        self._drawn = drawn
        self._lock = threading.Lock()
        self._breaker = Breaker()
        self._retry_at = 0.0

    @property
    def left_s(self) -> float:
        """The seconds until somebody may ask again; 0 while it is closed."""
        return 0.0 if self._breaker.closed else max(self._retry_at - self._clock(), 0.0)

    def allows(self) -> bool:
        """Tell whether the caller may try: everybody while it is closed, one after each hold else."""
        if self._breaker.closed:
            return True
        with self._lock:
            if self._breaker.closed:
                return True
            if self._clock() < self._retry_at:
                return False
            self._breaker = replace(self._breaker, state="half_open")
            self._retry_at = self._clock() + self._rules.probe_s
            return True

    def succeeded(self) -> bool:
        """Close; tell whether it was open."""
        if self._breaker == _WELL:
            return False
        with self._lock:
            was_open = not self._breaker.closed
            self._breaker = Breaker()
        if was_open:
            BREAKERS_OPEN.labels(self.dependency).dec()
            log.warning("breaker_closed", extra={"dependency": self.dependency})
        return was_open

    def failed(self) -> bool:
        """Count a failure; tell whether it opened by that, having been closed."""
        with self._lock:
            before = self._breaker
            if before.state == "open":
                return False  # begun before it opened: it says nothing new
            self._breaker, hold_s = after(self._rules, before, False, self._drawn())
            self._retry_at = self._clock() + hold_s
            opened = before.closed and not self._breaker.closed
        told = {"dependency": self.dependency, "hold_s": round(hold_s, 1)}
        if opened:
            BREAKERS_OPEN.labels(self.dependency).inc()
            BREAKER_OPENINGS.labels(self.dependency).inc()
            log.warning("breaker_opened", extra=told)
        elif hold_s:
            log.debug("breaker_held", extra=told)
        return opened


class Guards:
    """The guards of many places of one kind, such as hosts; those asked for longest ago are forgotten."""

    def __init__(
        self,
        dependency: str,
        rules: BreakerRules,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dependency = dependency
        self._rules = rules
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._guards: OrderedDict[Hashable, Guard] = OrderedDict()

    def of(self, place: Hashable) -> Guard:
        """Return the guard of a place."""
        with self._lock:
            guard = self._guards.get(place)
            if guard is None:
                guard = self._guards[place] = Guard(self._dependency, self._rules, self._clock)
            self._guards.move_to_end(place)
            forgotten = self._guards.popitem(last=False)[1] if len(self._guards) > self._most else None
        if forgotten is not None:
            forgotten.succeeded()  # it is counted among the open ones no longer
        return guard


_WELL: Final = Breaker()
