"""The retry decision: attempts, growth, cap, jitter, errors that no repeat can mend."""

from __future__ import annotations

import pytest

from app.domain.errors import OperationFailed
from app.domain.retry import RetryDecision, RetryPolicy, decide

POLICY = RetryPolicy(attempts=3, backoff_s=2, factor=3, max_s=5, jitter=0.5)
BROKEN = OperationFailed("x", "broken")


def test_delay_grows_to_the_cap_and_chance_only_shortens_it() -> None:
    assert decide(POLICY, 1, BROKEN, lambda: 0.0).delay_s == 2
    assert decide(POLICY, 2, BROKEN, lambda: 0.0).delay_s == 5
    assert decide(POLICY, 1, BROKEN, lambda: 0.5).delay_s == 1.5
    assert decide(RetryPolicy(attempts=10_000, factor=10), 9_999, BROKEN, lambda: 0.0).delay_s == 300


def test_the_last_attempt_and_hopeless_errors_are_final() -> None:
    assert decide(POLICY, 3, BROKEN, lambda: 0.0) == RetryDecision(False, 0.0, "attempt 3 of 3 was the last")
    assert not decide(POLICY, 1, OperationFailed("x", "no", retryable=False), lambda: 0.0).retry
    assert decide(POLICY, 1, ValueError("any other error may pass"), lambda: 0.0).retry


@pytest.mark.parametrize(
    "bad", [{"attempts": 0}, {"backoff_s": -1}, {"max_s": -1}, {"factor": 0.5}, {"jitter": 1.5}]
)
def test_values_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must|not"):
        RetryPolicy(**bad)  # type: ignore[arg-type]  # one of each kind of number
