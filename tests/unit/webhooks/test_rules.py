"""When a delivery is tried again, given up, when an endpoint is left alone; signatures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from standardwebhooks.webhooks import Webhook

from app.domain.breakers import Breaker, after
from app.domain.errors import InvalidInput
from app.domain.events import Event
from app.domain.webhooks import (
    DEFAULT_RULES,
    Answer,
    Delivery,
    checked_patterns,
    verdict,
)
from app.security.webhook_signature import SignatureRefused, new_secret, signed_headers, verify
from app.services.webhook_attempt import retry_after_s, shown_response

START = datetime(2026, 1, 1, tzinfo=UTC)


def delivery(tried: int = 0) -> Delivery:
    event = Event(UUID(int=1), UUID(int=2), "runs/1", 1, "io.quantum.run.failed", {}, None, START, 1)
    return Delivery(event, tried, START)


def answer(status: int | None, hours: float = 0, retry_after: float | None = None) -> Answer:
    return Answer(START + timedelta(hours=hours), 0.1, status, retry_after_s=retry_after)


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1.0])
def test_a_receiver_that_stays_down_is_tried_for_a_day_and_bounded(drawn: float) -> None:
    tried, hours, waits = 0, 0.0, []
    while True:
        decided = verdict(DEFAULT_RULES, delivery(tried), answer(500, hours), drawn)
        tried += 1
        if decided.state == "dead":
            break
        waits.append(decided.delay_s)
        hours += decided.delay_s / 3600
    assert tried <= DEFAULT_RULES.attempts
    if drawn:
        assert hours == pytest.approx(24, abs=0.01), "the last attempt comes at the end of the day"
        assert waits[:3] == [drawn * 5, drawn * 15, drawn * 45]
        assert max(waits) <= 4 * 3600
    else:
        assert tried == DEFAULT_RULES.attempts


def test_what_is_asked_for_is_heeded_within_an_hour() -> None:
    assert verdict(DEFAULT_RULES, delivery(), answer(429, 0, 120), 0.0).delay_s == 120
    assert verdict(DEFAULT_RULES, delivery(), answer(503, 0, 99_999), 0.0).delay_s == 3600
    assert retry_after_s("120", START) == 120
    assert retry_after_s("Thu, 01 Jan 2026 00:01:00 GMT", START) == 60
    assert retry_after_s("soon", START) is None


def test_the_breaker_opens_longer_each_time_and_closes_at_once() -> None:
    breaker, holds = Breaker(), []
    for _ in range(4):
        breaker, hold_s = after(DEFAULT_RULES.breaker, breaker, False, 0.0)
        assert hold_s == 0.0
    for _ in range(9):
        breaker, hold_s = after(DEFAULT_RULES.breaker, breaker, False, 0.0)
        holds.append(hold_s)
        breaker = Breaker("half_open", breaker.failures, breaker.openings)
    assert holds == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert after(DEFAULT_RULES.breaker, breaker, True, 0.0) == (Breaker(), 0.0)


def test_patterns_are_known_types() -> None:
    assert checked_patterns(["run.failed", "io.quantum.run.failed", "step.*", "*"]) == [
        "run.failed",
        "step.*",
        "*",
    ]
    with pytest.raises(InvalidInput) as refused:
        checked_patterns(["run.failed", "run.exploded", "nothing.*"])
    assert [fault.pointer for fault in refused.value.faults] == ["/types/1", "/types/2"]


def test_signatures_are_those_of_the_reference() -> None:
    old, new = new_secret(), new_secret()
    now = datetime.now(UTC).timestamp()
    headers = signed_headers([new, old], "m", int(now), "grüße".encode())
    for secret in (old, new):
        Webhook(secret).verify("grüße", headers, json_parse=False)
        assert verify([secret], headers, "grüße".encode(), now) == "m"
    for changed in (
        {"webhook-id": "n"},
        {"webhook-timestamp": str(int(now) - 301)},
        {"webhook-timestamp": "now"},
        {"webhook-signature": headers["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": ""},
    ):
        with pytest.raises(SignatureRefused):
            verify([old], headers | changed, "grüße".encode(), now)
    with pytest.raises(SignatureRefused):
        verify([new_secret()], headers, "grüße".encode(), now)
    with pytest.raises(SignatureRefused):
        verify([old], headers, b"other", now)


def test_what_is_kept_of_an_answer_is_short_and_masked() -> None:
    shown = shown_response(b'{"token": "abc", "ok": "the-secret"}', ["the-secret"])
    assert shown == '{"token": "***", "ok": "***"}'
    assert len(shown_response(b"x" * 5000, [])) == 1000
    assert shown_response(b"\xff\x00", []) == "\N{REPLACEMENT CHARACTER}" * 2
