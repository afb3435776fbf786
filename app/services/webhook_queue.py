"""What one process has in hand of webhooks: whose turn it is, what came of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from app.db.webhook_work import Key, Result
from app.domain.breakers import Breaker
from app.domain.webhooks import Delivery, DeliveryRules
from app.services.webhook_attempt import Endpoint, Line


@dataclass(slots=True)
class Queue:
    """One webhook whose lease this process holds."""

    endpoint: Endpoint
    line: Line
    breaker: Breaker
    ready: deque[list[Delivery]] = field(default_factory=deque)
    busy: set[str] = field(default_factory=set)
    """Subjects under way."""
    results: list[Result] = field(default_factory=list)
    """Not written yet."""
    hold_s: float = 0.0
    expire: bool = False
    closing: bool = False
    """Nothing more is sent; it is given up once nothing is under way."""
    served: int = 0
    look_at: float = 0.0
    """When it is worth reading again: the last reading found nothing."""
    opened_at: float = 0.0

    @property
    def key(self) -> Key:
        """Which webhook."""
        return self.endpoint.tenant_id, self.endpoint.webhook_id

    @property
    def subjects(self) -> list[str]:
        """The subjects that are in hand."""
        return [*self.busy, *(chain[0].event.subject for chain in self.ready)]

    def close(self) -> None:
        """Send nothing more."""
        self.closing = True
        self.ready.clear()


class Hall:
    """The queues of one process; nobody waits behind a slow endpoint while a thread is free."""

    def __init__(self, rules: DeliveryRules) -> None:
        self._rules = rules
        self.queues: dict[Key, Queue] = {}
        self.under_way: Counter[UUID] = Counter()
        self._served = 0

    def next(self) -> tuple[Queue, list[Delivery]] | None:
        """Take the chain that is next: of the tenant with the fewest under way, then of its idlest endpoint.

        None when all threads are busy, or everybody with something ready has what it may have.
        """
        if self.under_way.total() >= self._rules.threads:
            return None
        open_to = [queue for queue in self.queues.values() if queue.ready and self._may(queue)]
        if not open_to:
            return None
        chosen = min(
            open_to, key=lambda one: (self.under_way[one.endpoint.tenant_id], len(one.busy), one.served)
        )
        self._served += 1
        chosen.served = self._served
        chain = chosen.ready.popleft()
        chosen.busy.add(chain[0].event.subject)
        self.under_way[chosen.endpoint.tenant_id] += 1
        return chosen, chain

    def ended(self, queue: Queue, subject: str) -> None:
        """Note that a chain is under way no more."""
        queue.busy.discard(subject)
        self.under_way[queue.endpoint.tenant_id] -= 1

    def hungry(self, now: float) -> Iterable[Queue]:
        """Return the queues that could send more than they have in hand."""
        return [
            queue
            for queue in self.queues.values()
            if not queue.closing
            and not queue.ready
            and now >= queue.look_at
            and len(queue.busy) < self.most(queue)
        ]

    def most(self, queue: Queue) -> int:
        """Return how many deliveries of the queue may be under way: one, until its breaker is closed."""
        return self._rules.of_endpoint if queue.breaker.closed else 1

    def _may(self, queue: Queue) -> bool:
        busy = self.under_way[queue.endpoint.tenant_id]
        return busy < self._rules.of_tenant and len(queue.busy) < self.most(queue)
