"""Reports of progress: gathered, cut, masked; none fails the operation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from app.domain.errors import Unavailable
from app.services.courier import Courier
from app.services.progress import Progress
from app.services.resolve_secrets import ResolvedSecrets
from tests.support.waiting import eventually

Report = tuple[float | None, str | None]


class ByHand(Courier):
    """A courier that goes when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[Callable[[], None]] = []

    def post(self, errand: Callable[[], None]) -> None:
        self.posted.append(errand)

    def go(self) -> None:
        errands, self.posted = self.posted, []
        for errand in errands:
            errand()


def told(
    courier: Courier, *, mask: Callable[[Any], Any] = lambda value: value
) -> tuple[Progress, list[Report]]:
    written: list[Report] = []
    return Progress(courier, lambda *report: written.append(report), mask), written


def test_only_the_latest_report_of_a_round_is_written() -> None:
    courier = ByHand()
    heartbeat, written = told(courier)
    for n in range(1000):
        heartbeat(n / 1000, f"{n} of 1000")
    assert len(courier.posted) == 1
    courier.go()
    courier.go()
    heartbeat(message="nearly")
    courier.go()
    assert written == [(0.999, "999 of 1000"), (0.999, "nearly")]


def test_nothing_is_written_after_the_end_of_the_attempt() -> None:
    courier = ByHand()
    heartbeat, written = told(courier)
    heartbeat(0.5)
    heartbeat.close()
    courier.go()
    assert written == []


@pytest.mark.parametrize(
    ("given", "kept"), [(-1, 0.0), (7, 1.0), (math.nan, None), (math.inf, 1.0), ("x", None), ("0.25", 0.25)]
)
def test_a_number_out_of_range_is_cut(given: Any, kept: float | None) -> None:
    courier = ByHand()
    heartbeat, written = told(courier)
    heartbeat(given)
    courier.go()
    assert written == [(kept, None)]


def test_a_message_is_masked_before_it_is_cut() -> None:
    courier, secret = ByHand(), "canary-7f3e9a11"
    heartbeat, written = told(courier, mask=ResolvedSecrets({"T": secret}).mask)
    heartbeat(message="x" * 195 + secret + "\0")
    courier.go()
    ((_, message),) = written
    assert message == "x" * 195 + "***\ufffd"


def test_a_database_that_is_away_fails_no_heartbeat() -> None:
    courier, written = Courier(0.02), []

    def write(*report: Any) -> None:
        written.append(report)
        if len(written) == 1:
            raise Unavailable("database")

    heartbeat = Progress(courier, write, lambda value: value)
    heartbeat(0.1)
    eventually(lambda: len(written) == 1, within=5)
    heartbeat(0.2)
    eventually(lambda: len(written) == 2, within=5)
    assert written == [(0.1, None), (0.2, None)]


def test_an_errand_that_raises_does_not_keep_the_others_back() -> None:
    courier, done = Courier(0.02), []

    def broken() -> None:
        raise ValueError("broken")

    courier.post(broken)
    courier.post(lambda: done.append(1))
    eventually(lambda: done == [1], within=5)
    courier.post(lambda: done.append(2))
    eventually(lambda: done == [1, 2], within=5)
