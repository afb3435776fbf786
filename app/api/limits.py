"""Request limits per tenant, counted on Redis behind a circuit breaker that fails open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.domain.errors import RateLimited
from app.observability.logging import get_log

SOCKET_TIMEOUT_S: Final = 0.05
OPEN_FOR_S: Final = 2.0

log = get_log(__name__)


class Breaker:
    """Lets one caller through every `open_for_s` seconds after a failure, everybody after a success."""

    def __init__(self, open_for_s: float = OPEN_FOR_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_for_s = open_for_s
        self._clock = clock
        self._lock = threading.Lock()
        self._retry_at: float | None = None

    def allows(self) -> bool:
        """Tell whether this caller may try; while open, the one that may moves the next try away."""
        if self._retry_at is None:
            return True
        with self._lock:
            if self._retry_at is None:
                return True
            if self._clock() < self._retry_at:
                return False
            self._retry_at = self._clock() + self._open_for_s
            return True

    def failed(self) -> bool:
        """Open, or stay open; tells whether it was closed before."""
        with self._lock:
            was_closed = self._retry_at is None
            self._retry_at = self._clock() + self._open_for_s
            return was_closed

    def succeeded(self) -> None:
        """Close."""
        self._retry_at = None


class TenantLimits:
    """At most `per_minute` requests a minute for each tenant; without Redis, no limit."""

    def __init__(self, redis_url: str, per_minute: int) -> None:
        # One try within the socket time-out: redis-py's own retries would multiply the wait.
        storage = RedisStorage(
            redis_url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # limits declares scalars, redis-py takes objects
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._item = RateLimitItemPerMinute(per_minute)
        self._breaker = Breaker()

    def check(self, tenant_id: UUID) -> None:
        """Count one request of the tenant; raises RateLimited when it was one too many."""
        if not self._breaker.allows():
            return
        try:
            within = self._limiter.hit(self._item, "tenant", str(tenant_id))
        except (RedisError, OSError) as down:
            if self._breaker.failed():
                log.warning("rate_limits_suspended", reason=type(down).__name__)
            return
        self._breaker.succeeded()
        if not within:
            raise RateLimited(f"at most {self._item.amount} requests a minute", retry_after_s=1)
