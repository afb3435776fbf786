"""The broker's present life: a token that vanishes with the messages it held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol
from uuid import uuid4

import redis

from app.domain.breakers import BreakerRules
from app.observability.breakers import Guard
from app.observability.metrics import BROKER_RECONNECTS

EPOCH_KEY = "quantum:broker-epoch"
REFRESH_S = 0.5
RULES = BreakerRules(failures=1, first_s=REFRESH_S, most_s=REFRESH_S)
"""It only tells how the link stands: the link itself asks twice a second, whoever sends."""


class EpochReader(Protocol):
    """Reads the token from one kind of broker; raises OSError or redis.RedisError when it cannot."""

    def __call__(self) -> str: ...


def redis_reader(url: str, timeout_s: float) -> EpochReader:
    """Return a reader of the key in Redis that a flush or a new server loses; the first reader makes it."""
    client = redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, decode_responses=True
    )

    def read() -> str:
        found = client.get(EPOCH_KEY)
        if found is None:
            client.set(EPOCH_KEY, uuid4().hex, nx=True)
            found = client.get(EPOCH_KEY)
        if found is None:
            raise redis.RedisError("the epoch key vanished while it was made")
        return str(found)

    return read


class BrokerLink:
    """Knows the broker's epoch, or that the broker is away; also the circuit breaker of its senders."""

    def __init__(self, read: EpochReader, clock: Callable[[], float]) -> None:
        self._read = read
        self._clock = clock
        self._epoch: str | None = None
        self._read_at = float("-inf")
        self._stop = threading.Event()
        self._guard = Guard("broker", RULES, clock)

    @property
    def epoch(self) -> str | None:
        """The token read last, None while the broker is away. Never waits."""
        return self._epoch

    def refresh(self) -> str | None:
        """Ask the broker, at most one time-out long, and return the epoch."""
        try:
            self._epoch = self._read()
        except (OSError, redis.RedisError):
            self._epoch = None  # told by the value: every sender asks for it before it sends
            self._guard.failed()
        else:
            if self._guard.succeeded():
                BROKER_RECONNECTS.labels("sender").inc()
        self._read_at = self._clock()
        return self._epoch

    def current(self, max_age_s: float = 1.0) -> str | None:
        """Return the epoch, asking the broker only when the answer is older than `max_age_s` seconds."""
        if self._clock() - self._read_at > max_age_s:
            return self.refresh()
        return self._epoch

    def broke(self) -> None:
        """Note that a command failed: senders fail at once until the next good answer."""
        self._epoch = None

    def watch(self) -> None:
        """Keep the epoch fresh in the background, so that `epoch` is never old by more than a second."""
        threading.Thread(target=self._watch, name="broker-epoch", daemon=True).start()

    def stop(self) -> None:
        """End the background refresh."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(REFRESH_S)
