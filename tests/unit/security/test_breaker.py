"""The circuit breaker of the rate limits."""

from __future__ import annotations

from app.api.limits import Breaker


def test_after_a_failure_one_caller_tries_at_a_time() -> None:
    now = 0.0
    breaker = Breaker(2.0, lambda: now)
    assert breaker.allows()
    assert breaker.failed()
    assert not breaker.allows()
    now = 2.5
    assert [breaker.allows() for _ in range(5)] == [True, False, False, False, False]
    assert not breaker.failed()
    now = 5.0
    assert breaker.allows()
    breaker.succeeded()
    assert all(breaker.allows() for _ in range(5))
