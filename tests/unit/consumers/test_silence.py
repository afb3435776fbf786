"""A receiver is silent when events wait for it; one that has nothing to read is well."""

from __future__ import annotations

from app.consumers.silence import Silence


class Clock:
    """Counts seconds as told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def watched() -> tuple[Silence, Clock]:
    clock = Clock()
    silence = Silence(10.0, clock)
    silence.began("0")
    return silence, clock


def test_events_that_wait_too_long_tell_of_silence() -> None:
    silence, clock = watched()
    clock.now = 9.0
    assert silence.silent({"0": 4}) == []
    clock.now = 10.0
    assert silence.silent({"0": 4}) == ["0"]


def test_an_event_shows_that_it_lives() -> None:
    silence, clock = watched()
    clock.now = 9.0
    silence.heard("0", 2)
    clock.now = 18.0
    assert silence.silent({"0": 4}) == []
    clock.now = 19.0
    assert silence.silent({"0": 4}) == ["0"]


def test_nothing_to_read_is_no_silence_however_long_it_lasts() -> None:
    silence, clock = watched()
    silence.known("0", 4)
    clock.now = 100.0
    assert silence.silent({"0": 4}) == []
    clock.now = 105.0
    assert silence.silent({"0": 5}) == [], "what came now has not waited yet"
    clock.now = 110.0
    assert silence.silent({"0": 5}) == ["0"]


def test_a_partition_of_another_consumer_is_not_watched() -> None:
    silence, clock = watched()
    silence.ended("0")
    clock.now = 100.0
    assert silence.silent({"0": 4, "1": 4}) == []
    assert list(silence.partitions()) == []
