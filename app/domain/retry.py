"""The decision whether a failed attempt is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a step is tried: delay = min(max_s, backoff_s * factor^(attempt-1)), all in seconds.

    `attempts` counts the first try; `jitter` in 0..1 is the share of the delay that chance may take away.
    Raises ValueError for a value out of range.
    """

    attempts: int = 1
    backoff_s: float = 1.0
    factor: float = 2.0
    max_s: float = 300.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        if self.backoff_s < 0 or self.max_s < 0:
            raise ValueError("backoff_s and max_s must not be negative")
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1, not {self.factor}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter must lie in 0..1, not {self.jitter}")


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Whether to retry, after how many seconds, with the reason for people."""

    retry: bool
    delay_s: float
    reason: str


def decide(
    policy: RetryPolicy, attempt: int, error: BaseException, random: Callable[[], float]
) -> RetryDecision:
    """Decide what follows the failed `attempt` (from 1); `random` yields 0 <= x < 1.

    An error says by its attribute `retryable` whether a repeat can help; without it a repeat may.
    """
    if not getattr(error, "retryable", True):
        return RetryDecision(False, 0.0, "the error is not retryable")
    if attempt >= policy.attempts:
        return RetryDecision(False, 0.0, f"attempt {attempt} of {policy.attempts} was the last")
    delay = _delay(policy, attempt) * (1 - policy.jitter * random())
    return RetryDecision(True, delay, f"attempt {attempt} of {policy.attempts} failed")


def _delay(policy: RetryPolicy, attempt: int) -> float:
    try:
        return min(policy.max_s, policy.backoff_s * policy.factor ** (attempt - 1))
    except OverflowError:
        return policy.max_s
