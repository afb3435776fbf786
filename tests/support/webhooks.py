"""Webhooks of one tenant over a real database, a receiver that verifies what it gets."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from standardwebhooks.webhooks import Webhook

from app.db.ids import new_id
from app.db.webhook_work import PostgresWebhooks
from app.domain.identity import Actor
from app.domain.webhooks import DEFAULT_RULES
from app.messaging.webhook_post import Line, Watchdog
from app.security.egress import Resolver, system_resolver
from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.deliver_webhooks import Deliverer
from app.services.flags import Defaults
from app.services.manage_webhooks import WebhookDeps, create_webhook
from app.services.webhook_attempt import Attempts
from tests.support.http_target import HttpTarget, Reply, Seen
from tests.support.roles import RoleDatabases
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually

OK: Reply = (200, {}, b"")
ACTOR = Actor(UUID(int=0), "t", None, "dev@example.org", frozenset({"tenant_admin"}), "req-1")
QUICK = replace(DEFAULT_RULES, first_s=0.05, most_s=0.2, least_s=0.01, timeout_s=3.0, breaker_first_s=0.3)
"""Rules that wait little."""
EMIT = "SELECT emit_event(%s, %s, %s, %s, %s, '{}')"


@dataclass
class Hook:
    """One webhook with its secret."""

    id: UUID
    secret: str = field(repr=False)

    def verified(self, seen: Seen) -> dict[str, Any]:
        """Return the event of a request, verified by the reference library."""
        event: dict[str, Any] = Webhook(self.secret).verify(seen.body, seen.headers)
        assert seen.headers["webhook-id"] == event["id"]
        return event


@dataclass
class HookRig(RoleDatabases):
    """One database with a tenant, its webhooks, deliverers over them."""

    urls: DatabaseUrls
    kek: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.urls)
        self.tenant = self.new_tenant()
        self._numbers = itertools.count(1)
        PostgresWebhooks(self.system).prepare()

    @property
    def deps(self) -> WebhookDeps:
        return WebhookDeps(self.app, SecretBox(KeyRing((self.kek,))), new_id, self.allowed)

    def actor(self, tenant: UUID | None = None) -> Actor:
        return replace(ACTOR, tenant_id=tenant or self.tenant)

    def hook(
        self,
        target: HttpTarget | str,
        types: Sequence[str] = ("*",),
        labels: dict[str, str] | None = None,
        tenant: UUID | None = None,
    ) -> Hook:
        """Make a webhook that posts to the target."""
        url = target if isinstance(target, str) else f"{target.url}/hook"
        if not isinstance(target, str):
            self.allowed = (*self.allowed, target.name)
        wanted = {"name": f"h{next(self._numbers)}", "url": url, "types": list(types), "labels": labels or {}}
        made = create_webhook(self.deps, self.actor(tenant), wanted)
        return Hook(made.row["id"], made.secret)

    def emit(
        self,
        subject: str,
        first: int,
        last: int,
        kind: str = "run.started",
        tenant: UUID | None = None,
        data: Any = None,
    ) -> None:
        """Commit the events `first..last` of a subject."""
        owner = tenant or self.tenant
        with self.app.tenant(owner) as connection:
            for seq in range(first, last + 1):
                connection.exec_driver_sql(EMIT, (owner, subject, seq, kind, json.dumps(data or {})))

    def deliverer(
        self, rules: Any = QUICK, resolve: Resolver = system_resolver, owner: str | None = None
    ) -> Deliverer:
        attempts = Attempts(self.allowed, rules.timeout_s, time.monotonic, lambda: datetime.now(UTC), resolve)
        return Deliverer(
            PostgresWebhooks(self.system),
            self.app,
            SecretBox(KeyRing((self.kek,))),
            attempts,
            partial(Line, Watchdog()),
            owner or f"d-{new_id()}",
            rules,
            random.random,
            time.monotonic,
            Defaults(),
        )

    @contextlib.contextmanager
    def delivering(self, *deliverers: Deliverer) -> Iterator[None]:
        """Let the deliverers, one unless given, run in threads for the time of the block."""
        stop = threading.Event()
        running = [
            threading.Thread(target=one.run, args=(stop.wait,), daemon=True)
            for one in deliverers or (self.deliverer(),)
        ]
        for thread in running:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in running:
                thread.join(20)

    def states(self, hook: Hook) -> Counter[str]:
        rows = self.admin.call(
            "SELECT state, count(*) FROM webhook_deliveries WHERE webhook_id = %s GROUP BY 1", (hook.id,)
        )
        return Counter({row[0]: row[1] for row in rows})

    def wait(self, hook: Hook, within: float = 20, **states: int) -> None:
        """Wait until the webhook has exactly so many deliveries in each state."""
        eventually(lambda: self.states(hook) == Counter(states), within=within, what=str(states))

    def queue(self, hook: Hook) -> dict[str, Any]:
        rows = self.admin.call("SELECT to_jsonb(q) FROM webhook_queues q WHERE webhook_id = %s", (hook.id,))
        return dict(rows[0][0])

    def age(self, hook: Hook, hours: float) -> None:
        """Act as if its pending deliveries had been made so many hours ago, and may be tried now."""
        self.admin.call(
            "UPDATE webhook_deliveries SET since = since - make_interval(secs => %(s)s),"
            " ready_at = CASE WHEN ready_at IS NOT NULL THEN now() END"
            " WHERE webhook_id = %(id)s AND state = 'pending'",
            {"s": hours * 3600, "id": hook.id},
        )
        self.admin.call(
            "UPDATE webhook_queues SET due_at = now(), hold_until = NULL WHERE webhook_id = %s", (hook.id,)
        )

    def failing(self, hook: Hook, receiver: Receiver, days: int, last_hours: int) -> None:
        """Act as if all attempts of so many days failed, the last so many hours ago; let one more fail."""
        tried = receiver.attempts
        self.admin.call(
            "UPDATE webhook_queues SET failing_since = now() - make_interval(days => %s),"
            " failed_at = now() - make_interval(hours => %s) WHERE webhook_id = %s",
            (days, last_hours, hook.id),
        )
        self.age(hook, 0)
        eventually(lambda: receiver.attempts > tried, within=10)
        eventually(lambda: self.queue(hook)["lease_owner"] is None, within=10)


@dataclass
class Receiver:
    """What a target answers, by the events it gets."""

    answer: Callable[[dict[str, Any], int], Reply] = lambda _event, _time: OK
    times: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def attempts(self) -> int:
        """How many it got."""
        return sum(self.times.values())

    def __call__(self, seen: Seen) -> Reply:
        event = json.loads(seen.body)
        with self.lock:
            self.times[event["id"]] += 1
            times = self.times[event["id"]]
        return self.answer(event, times)


def first_arrivals(events: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Return the sequences of each subject in the order of their first arrival."""
    found: dict[str, dict[int, None]] = {}
    for event in events:
        found.setdefault(event["subject"], {}).setdefault(int(event["sequence"]))
    return {subject: list(numbers) for subject, numbers in found.items()}
