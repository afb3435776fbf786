"""An event is handled once, tried again, parked at last; the inbox's database being away is not its fault."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from app.consumers.handling import Handling, HandlingRules, Stopped, parsed
from app.domain.errors import Unavailable

EVENT = {"source": "/tenants/1", "id": "1", "type": "io.quantum.run.failed"}
RULES = HandlingRules(attempts=3, pause_least_s=0.0, pause_most_s=0.0, keep_s=100, prune_every_s=10)


class FakeInbox:
    """Keeps notes in memory; away for as many calls as told."""

    def __init__(self) -> None:
        self.away = 0
        self.handled: list[str] = []
        self.faults: dict[str, str] = {}
        self.pruned: list[float] = []

    def _here(self) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("inbox")

    def once(self, event: Mapping[str, Any], handle: Any) -> bool:
        self._here()
        if event["id"] in self.handled:
            return False
        handle(None, event)
        self.handled.append(event["id"])
        return True

    def park(self, event: Mapping[str, Any], fault: str) -> None:
        self._here()
        self.faults[event["id"]] = fault

    def prune(self, older_s: float) -> int:
        self._here()
        self.pruned.append(older_s)
        return 0


class Failing:
    """Fails so many times."""

    def __init__(self, times: int) -> None:
        self.times, self.calls = times, 0

    def __call__(self, cursor: Any, event: Mapping[str, Any]) -> None:
        self.calls += 1
        if self.calls <= self.times:
            raise ValueError("no")


def handling(inbox: FakeInbox, handle: Any, clock: Any = lambda: 0.0) -> Handling:
    return Handling(inbox, handle, threading.Event(), clock, RULES)


def test_a_repeat_is_dropped_what_does_not_fit_is_passed_over() -> None:
    inbox, handle = FakeInbox(), Failing(0)
    taker = handling(inbox, handle)
    taker.take(EVENT)
    taker.take(EVENT)
    taker.fits = lambda event: False
    taker.take({**EVENT, "id": "2"})
    assert handle.calls == 1
    assert taker.counts == {"handled": 1, "repeated": 1, "passed": 1}


def test_a_failing_handler_is_tried_again() -> None:
    inbox, handle = FakeInbox(), Failing(2)
    taker = handling(inbox, handle)
    taker.take(EVENT)
    assert (handle.calls, inbox.handled, taker.counts) == (3, ["1"], {"handled": 1})


def test_an_event_that_fails_again_and_again_is_parked_with_its_fault() -> None:
    inbox, handle = FakeInbox(), Failing(99)
    taker = handling(inbox, handle)
    taker.take(EVENT)
    assert (handle.calls, inbox.handled, taker.counts) == (3, [], {"parked": 1})
    assert inbox.faults == {"1": "ValueError: no"}


def test_a_database_that_is_away_is_waited_for_as_long_as_that_lasts() -> None:
    inbox, handle = FakeInbox(), Failing(0)
    inbox.away = 20
    taker = handling(inbox, handle)
    taker.take(EVENT)
    assert (taker.counts, inbox.faults) == ({"handled": 1}, {})


def test_an_event_that_waits_is_left_when_the_consumer_ends() -> None:
    inbox, handle = FakeInbox(), Failing(99)
    taker = handling(inbox, handle)
    taker.stop.set()
    with pytest.raises(Stopped):
        taker.take(EVENT)
    assert (handle.calls, inbox.faults) == (1, {})


def test_old_notes_are_forgotten_now_and_then() -> None:
    inbox, now = FakeInbox(), [0.0]
    taker = handling(inbox, Failing(0), lambda: now[0])
    for moment in (0.0, 9.0, 10.0):
        now[0] = moment
        taker.tidy()
    assert inbox.pruned == [100, 100]


def test_what_is_no_envelope_is_told_by_its_place() -> None:
    assert parsed(b'{"source": "s", "id": "1"}', "hub/0/7") == {"source": "s", "id": "1"}
    for strange in (b"\xff\xfe", b"[]", b'{"id": 1}', "no"):
        found = parsed(strange, "hub/0/7")
        assert (found["type"], found["id"]) == ("unreadable", "hub/0/7")
