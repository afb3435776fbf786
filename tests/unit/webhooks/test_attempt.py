"""One attempt to deliver: whatever an endpoint provokes is a failed attempt with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.domain.events import Event
from app.domain.webhooks import Answer, Delivery, Outgoing, Reply
from app.security.webhook_signature import new_secret
from app.services.webhook_attempt import Attempts, Endpoint, retry_after_s

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FAR = "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"


class Canned:
    """A line that keeps what it sent and answers, or raises, what the test says."""

    def __init__(self, then: Reply | Exception) -> None:
        self.sent: list[Outgoing] = []
        self._then = then

    def post(self, outgoing: Outgoing, _timeout_s: float) -> Reply:
        self.sent.append(outgoing)
        if isinstance(self._then, Exception):
            raise self._then
        return self._then

    def close(self) -> None:
        """Nothing is open."""


def attempt(line: Canned, url: str = "https://example.org/hook") -> Answer:
    attempts = Attempts((), 1.0, lambda: 0.0, lambda: NOW, lambda *_: ("93.184.216.34",))
    event = Event(UUID(int=1), UUID(int=2), "runs/1", 1, "io.quantum.run.failed", {}, None, NOW, 1)
    endpoint = Endpoint(UUID(int=2), UUID(int=3), 1, url, [new_secret()])
    return attempts.attempt(line, endpoint, Delivery(event, 0, NOW))


def replied(status: int, headers: Mapping[str, str]) -> Canned:
    return Canned(Reply(status, headers, b""))


@pytest.mark.parametrize("value", [FAR, "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"])
def test_a_pause_beyond_the_calendar_is_none(value: str) -> None:
    assert retry_after_s(value, NOW) is None
    answer = attempt(replied(429, {"retry-after": value}))
    assert (answer.status, answer.error, answer.retry_after_s) == (429, "status 429", None)


def test_what_nobody_foresaw_is_a_failed_attempt() -> None:
    answer = attempt(Canned(LookupError("/ a path of ours")))
    assert (answer.succeeded, answer.status, answer.error) == (False, None, "internal: LookupError")


def test_a_path_travels_as_ascii() -> None:
    line = replied(204, {})
    assert attempt(line, "https://example.org/größe/%41?q=ü&r=[1]").succeeded
    assert line.sent[0].path == "/gr%C3%B6%C3%9Fe/%41?q=%C3%BC&r=[1]"
