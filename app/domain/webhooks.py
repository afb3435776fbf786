"""Webhooks: what they let through, when a failed delivery is tried again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.breakers import BreakerRules
from app.domain.errors import Fault, InvalidInput
from app.domain.events import EVENT_TYPES, PREFIX, Event

PING: Final = PREFIX + "webhook.ping"
"""The type of the event that only a test delivery carries."""
STATES: Final = ("pending", "delivered", "dead")
SUCCESS: Final = range(200, 300)
GONE: Final = 410
REDIRECTS: Final = range(300, 400)
PAUSED: Final = frozenset({429, 503})
"""Statuses whose Retry-After holds for the whole endpoint."""


@dataclass(frozen=True, slots=True)
class DeliveryRules:
    """How deliveries are made, in seconds but for counts.

    The wait before attempt n + 1 is drawn from 0 to min(first_s * factor^(n - 1), most_s). A delivery is
    given up by the first failure `keep_trying_s` after it was made, or by attempt number `attempts`.
    """

    timeout_s: float = 10.0
    first_s: float = 5.0
    factor: float = 3.0
    most_s: float = 4 * 3600.0
    least_s: float = 1.0
    keep_trying_s: float = 24 * 3600.0
    attempts: int = 40
    longest_pause_s: float = 3600.0
    """What a Retry-After may ask for."""
    breaker_failures: int = 5
    breaker_first_s: float = 30.0
    breaker_most_s: float = 3600.0
    disable_after_s: float = 5 * 86_400.0
    """An endpoint whose every attempt failed for so long, with no day without one, is told nothing more."""
    threads: int = 32
    """Deliveries of one process under way at a time."""
    of_tenant: int = 16
    of_endpoint: int = 4
    chain: int = 20
    """Events of one subject that are sent one after the other before their outcome is written."""
    lease_s: float = 6.0

    @property
    def breaker(self) -> BreakerRules:
        """When an endpoint is left alone."""
        return BreakerRules(self.breaker_failures, self.breaker_first_s, self.breaker_most_s)


DEFAULT_RULES: Final = DeliveryRules()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one attempt: the receiver's answer, or `error`, which tells why there was none."""

    at: datetime
    latency_s: float
    status: int | None = None
    error: str | None = None
    response: str | None = None
    retry_after_s: float | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the receiver took the event."""
        return self.status is not None and self.status in SUCCESS

    @property
    def gone(self) -> bool:
        """Whether the receiver wants no event any more."""
        return self.status == GONE


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook; `tried` counts its attempts since it was made or replayed at `since`."""

    event: Event
    tried: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a delivery: its next state, the seconds until it is tried again if it is pending."""

    state: str
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request, its target pinned to the address that was checked."""

    scheme: str
    address: str
    port: int
    host: str
    host_header: str
    path: str
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request: status, headers in lower case, the beginning of the body."""

    status: int
    headers: Mapping[str, str]
    excerpt: bytes


class NoReply(Exception):
    """There was no answer, or not in time; `kind` is a stable code."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def verdict(rules: DeliveryRules, delivery: Delivery, answer: Answer, drawn: float) -> Verdict:
    """Decide what becomes of a delivery; `drawn` is a random number from 0 to 1.

    A receiver that is gone keeps its deliveries: they go on when somebody enables the webhook again.
    """
    if answer.succeeded:
        return Verdict("delivered")
    if answer.gone:
        return Verdict("pending")
    tried = delivery.tried + 1
    age_s = (answer.at - delivery.since).total_seconds()
    if delivery.event.type == PING or age_s >= rules.keep_trying_s or tried >= rules.attempts:
        return Verdict("dead")
    most_s = min(rules.first_s * rules.factor ** min(tried - 1, 50), rules.most_s)
    asked_s = min(answer.retry_after_s or 0.0, rules.longest_pause_s)
    # The last attempt comes at the end of the time, not some hours before it.
    wait_s = min(max(drawn * most_s, asked_s), rules.keep_trying_s - age_s)
    return Verdict("pending", max(wait_s, rules.least_s))


def checked_patterns(patterns: Iterable[str]) -> list[str]:
    """Return the patterns in their short form, each once: `run.failed`, `run.*`, `*`.

    Raises InvalidInput with the pointer of each that no type of event fits.
    """
    known = {name.removeprefix(PREFIX) for name in EVENT_TYPES}
    groups = {f"{name.partition('.')[0]}.*" for name in known}
    short = [pattern.removeprefix(PREFIX) for pattern in patterns]
    faults = [
        Fault(f"/types/{place}", "unknown_type", f"no type of event fits {pattern!r}")
        for place, pattern in enumerate(short)
        if pattern not in known | groups | {"*"}
    ]
    if faults:
        raise InvalidInput(tuple(faults))
    return list(dict.fromkeys(short))


def ping(event_id: UUID, tenant_id: UUID, webhook_id: UUID, now: datetime) -> dict[str, Any]:
    """Return the columns of a test delivery, whose subject is its own: it waits for no other event."""
    return {
        "event_id": event_id,
        "subject": f"pings/{event_id}",
        "seq": 1,
        "type": PING,
        "data": {"webhook_id": str(webhook_id), "tenant_id": str(tenant_id)},
        "occurred_at": now,
    }
