"""When a message counts as missing: never by age alone."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.domain.lost import BrokerView, Candidate, QueueView, is_missing, missing

RUN = UUID(int=7)
ID = f"{RUN}:a:3"
WHOLE = QueueView(frozenset(), whole=True, empty=True)
PART = QueueView(frozenset(), whole=False)
HELD = QueueView(frozenset({ID}), whole=True)


def candidate(*, epoch: str | None = "life", overtaken: bool = False) -> Candidate:
    return Candidate(UUID(int=1), RUN, "a", 3, "default", epoch, overtaken)


@pytest.mark.parametrize(
    ("found", "queue", "delivered", "missing"),
    [
        (candidate(), HELD, {}, False),
        (candidate(overtaken=True), HELD, {}, False),
        (candidate(), WHOLE, {}, True),
        (candidate(), PART, {}, False),
        (candidate(overtaken=True), PART, {}, True),
        (candidate(), WHOLE, {ID: 1.0}, False),
        (candidate(overtaken=True), PART, {ID: 1.0}, False),
        (candidate(), WHOLE, {ID: 60.0}, True),
        (candidate(epoch="earlier life"), HELD, {}, True),
        (candidate(epoch=None), HELD, {}, True),
    ],
    ids=[
        "it waits",
        "it waits though others were faster",
        "the queue is known whole without it",
        "the queue is longer than the look",
        "later ones ran",
        "a worker has just got it",
        "a worker has just got it, later ones ran",
        "its worker is gone",
        "the broker has forgotten",
        "it was never promised",
    ],
)
def test_is_missing(found: Candidate, queue: QueueView, delivered: dict[str, float], missing: bool) -> None:
    assert is_missing(found, BrokerView("life", {"default": queue}, delivered)) is missing


def test_a_queue_nobody_looked_at_tells_nothing() -> None:
    assert not is_missing(candidate(overtaken=True), BrokerView("life"))


def loose(key: str, *, tended: bool = True, idle: int = 0, epoch: str = "life") -> Candidate:
    return Candidate(UUID(int=1), RUN, key, 3, "default", epoch, False, True, tended, idle)


def found(*candidates: Candidate, queue: QueueView = WHOLE) -> list[str]:
    return [one.key for one in missing(candidates, BrokerView("life", {"default": queue}))]


def test_a_loose_step_is_missing_when_nobody_will_take_it_along() -> None:
    assert found(loose("a"), loose("b", tended=False), queue=HELD) == ["b"]


def test_a_loose_step_is_missing_when_the_broker_has_forgotten() -> None:
    assert found(loose("a", epoch="earlier life"), queue=HELD) == ["a"]


def test_as_many_loose_steps_get_messages_as_processes_have_nothing_to_do() -> None:
    waiting = [loose(key, idle=2) for key in "abc"]
    assert found(*waiting) == ["a", "b"]
    assert found(*waiting, queue=HELD) == [], "who is free takes what waits in the queue"
    assert found(*waiting, queue=PART) == []
    taken_in_advance = QueueView(frozenset(), whole=False, empty=True)
    assert found(*waiting, queue=taken_in_advance) == ["a", "b"], "by a worker that is busy, it may be"
