"""Request limits per tenant, counted on Redis behind a circuit breaker that fails open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.domain.breakers import BreakerRules
from app.domain.errors import RateLimited
from app.observability.breakers import Guard
from app.observability.logging import get_log

SOCKET_TIMEOUT_S: Final = 0.05
RULES: Final = BreakerRules(failures=1, first_s=2.0, most_s=2.0, probe_s=2.0)
LEASE_S: Final = 1.0
MOST_AHEAD: Final = 64
SHARE_AHEAD: Final = 500
"""At most one part in so many of a tenant's limit is counted ahead."""
MOST_TENANTS: Final = 10_000
"""Tenants whose counts ahead are remembered; beyond that all are forgotten at once."""

log = get_log(__name__)


@dataclass(slots=True)
class Lease:
    """Requests of one tenant that are counted already but not answered yet, good until `until` (seconds)."""

    left: int = 0
    size: int = 1
    until: float = 0.0

    def take(self, now: float) -> bool:
        """Use one of them up; tells whether there was one."""
        if self.left == 0 or now >= self.until:
            return False
        self.left -= 1
        return True

    def next_size(self, now: float, most: int) -> int:
        """Return how many to count next: more when these did not last, one when they were too many."""
        self.size = min(self.size * 2, most) if now < self.until else 1
        return self.size


class TenantLimits:
    """At most `per_minute` requests a minute for each tenant; without Redis, no limit.

    A busy tenant's requests are counted in advance, some dozens at once, so that few of them wait for Redis.
    What was counted but not used within a second is lost to the tenant, so the limit is never exceeded.
    """

    def __init__(
        self,
        redis_url: str,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        name: str = "tenant",
    ) -> None:
        # One try within the socket time-out: redis-py's own retries would multiply the wait.
        storage = RedisStorage(
            redis_url,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # limits declares scalars, redis-py takes objects
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._item = RateLimitItemPerMinute(per_minute)
        self._guard = Guard("rate_limits", RULES)
        self._clock = clock
        self._name = name
        self._most = max(1, min(MOST_AHEAD, per_minute // SHARE_AHEAD))
        self._leases: dict[UUID, Lease] = {}
        self._lock = threading.Lock()

    def check(self, tenant_id: UUID) -> None:
        """Count one request of the tenant; raises RateLimited when it was one too many."""
        now = self._clock()
        with self._lock:
            if len(self._leases) >= MOST_TENANTS:
                self._leases.clear()
            lease = self._leases.setdefault(tenant_id, Lease())
            if lease.take(now):
                return
            size = lease.next_size(now, self._most)
        if not self._guard.allows():
            return
        try:
            granted = size if self._hit(tenant_id, size) else 0
            if granted == 0 and size > 1:
                granted = 1 if self._hit(tenant_id, 1) else 0
        except (RedisError, OSError) as down:
            if self._guard.failed():
                log.warning("rate_limits_suspended", reason=type(down).__name__)
            return
        self._guard.succeeded()
        if not granted:
            raise RateLimited(f"at most {self._item.amount} requests a minute", retry_after_s=1)
        with self._lock:
            unused = lease.left if now < lease.until else 0
            lease.left, lease.until = unused + granted - 1, now + LEASE_S

    def _hit(self, tenant_id: UUID, count: int) -> bool:
        return self._limiter.hit(self._item, self._name, str(tenant_id), cost=count)
