"""One attempt to deliver an event: checked, signed, sent, its answer read."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol
from uuid import UUID

from app.domain.webhooks import PAUSED, REDIRECTS, SUCCESS, Answer, Delivery, NoReply, Outgoing, Reply
from app.observability import tracing
from app.observability.logging import get_log
from app.observability.masking import mask_fields, mask_values
from app.security.egress import (
    NameNotResolved,
    Resolver,
    TargetRefused,
    check_target,
    system_resolver,
)
from app.security.webhook_signature import PREFIX, signed_headers
from app.services.traces import delivering

log = get_log(__name__)

LONGEST_RESPONSE: Final = 1_000
LONGEST_ERROR: Final = 300
_FIXED: Final = {
    "Content-Type": "application/cloudevents+json; charset=utf-8",
    "Accept-Encoding": "identity",
    "User-Agent": "quantum-platform-webhooks",
}


class Line(Protocol):
    """Connections to one endpoint."""

    def post(self, outgoing: Outgoing, timeout_s: float) -> Reply:
        """Send a POST, follow no redirect; return the answer, whatever its status; raises NoReply."""

    def close(self) -> None:
        """Close what is idle."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one webhook's events go, with the secrets that sign them now."""

    tenant_id: UUID
    webhook_id: UUID
    version: int
    url: str
    secrets: Sequence[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attempts:
    """How attempts are made; `clock` counts seconds, `now` tells the time."""

    allowed: Collection[str]
    timeout_s: float
    clock: Callable[[], float]
    now: Callable[[], datetime]
    resolve: Resolver = system_resolver

    def attempt(self, line: Line, endpoint: Endpoint, delivery: Delivery) -> Answer:
        """Send the event once, to an address that is checked anew; return what came of it."""
        with delivering(delivery.event, endpoint.webhook_id) as span:
            answer = self._attempt(line, endpoint, delivery)
            if answer.error is not None:
                span.fail(answer.error.partition(":")[0])
            return answer

    def _attempt(self, line: Line, endpoint: Endpoint, delivery: Delivery) -> Answer:
        at, began = self.now(), self.clock()
        try:
            reply = line.post(self._outgoing(endpoint, delivery, at), self.timeout_s)
            took = self.clock() - began
            shown = shown_response(reply.excerpt, endpoint.secrets)
            pause = retry_after_s(reply.headers.get("retry-after"), at) if reply.status in PAUSED else None
            return Answer(at, took, reply.status, _refusal(reply.status), shown, pause)
        except TargetRefused as error:
            reason = f"target_refused: {error}"
        except NameNotResolved as error:
            reason = f"name_not_resolved: {error}"
        except NoReply as error:
            reason = f"{error.kind}: {error}"
        except Exception as fault:
            # Whatever an endpoint provokes is a failed attempt: one not counted would come again at once.
            log.exception("webhook_attempt_raised")
            reason = f"internal: {type(fault).__name__}"
        return Answer(at, self.clock() - began, error=reason[:LONGEST_ERROR])

    def _outgoing(self, endpoint: Endpoint, delivery: Delivery, at: datetime) -> Outgoing:
        target = check_target(endpoint.url, self.allowed, self.resolve)
        body = json.dumps(delivery.event.cloud_event(), separators=(",", ":"), ensure_ascii=False).encode()
        signed = signed_headers(endpoint.secrets, str(delivery.event.id), int(at.timestamp()), body)
        return Outgoing(
            target.scheme,
            target.address,
            target.port,
            target.host,
            target.host_header,
            target.path,
            {**_FIXED, **tracing.outgoing(), **signed},
            body,
        )


def shown_response(excerpt: bytes, secrets: Collection[str]) -> str:
    """Return what the log keeps of an answer's body: its beginning, without what looks like a credential."""
    text = excerpt.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")
    shown: Any = text
    try:
        shown = json.dumps(mask_fields(json.loads(text)), ensure_ascii=False)
    except (ValueError, RecursionError):
        shown = mask_fields(text)
    # The prefix is the same for all: an endpoint that tells the key behind it tells the secret.
    keys = [secret.removeprefix(PREFIX) for secret in secrets]
    masked: str = mask_values(shown, [*secrets, *keys])
    return masked.encode("utf-8", "replace").decode("utf-8")[:LONGEST_RESPONSE]


def retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for; None without a usable one."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    return max(((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now).total_seconds(), 0.0)


def _refusal(status: int) -> str | None:
    if status in SUCCESS:
        return None
    return "redirect_refused" if status in REDIRECTS else f"status {status}"
