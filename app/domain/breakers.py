"""Circuit breakers: when something outside is left alone, for how long, who asks whether it is back."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """After so many failures in a row nothing is tried for `first_s` seconds, twice as long each time after.

    `most_s` is the longest; chance adds up to a tenth, so that what fell together is not asked together.
    Who asks whether it is back has `probe_s` seconds, before another may ask in its stead.
    """

    failures: int = 5
    first_s: float = 30.0
    most_s: float = 3600.0
    probe_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """Of one dependency: closed, open or half_open; failures since the last success, how often it opened."""

    state: str = "closed"
    failures: int = 0
    openings: int = 0

    @property
    def closed(self) -> bool:
        """Whether it may be used freely."""
        return self.state == "closed"


def after(rules: BreakerRules, breaker: Breaker, succeeded: bool, drawn: float) -> tuple[Breaker, float]:
    """Return the breaker after a try, with the seconds for which nothing is tried (0: it is not open).

    It opens after some failures in a row; when the one try of the half-open state fails, for longer. `drawn`
    is a random number from 0 to 1.
    """
    if succeeded:
        return Breaker(), 0.0
    failed = replace(breaker, failures=breaker.failures + 1)
    if breaker.state == "closed" and failed.failures < rules.failures:
        return failed, 0.0
    hold_s = min(rules.first_s * 2 ** min(breaker.openings, 30), rules.most_s)
    return Breaker("open", failed.failures, breaker.openings + 1), hold_s * (1 + drawn / 10)
