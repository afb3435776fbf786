"""Batches over RabbitMQ: published without waiting, then confirmed together, in whatever words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from kombu.exceptions import BatchPublishError

from app.messaging.amqp_transport import PublishBatch


class FakeChannel:
    """Publishes into a list; each wait plays the next answer of the broker."""

    def __init__(self, *answers: tuple[str, int, bool]) -> None:
        self.events: dict[str, set[Callable[[int, bool], object]]] = defaultdict(set)
        self.published: list[str] = []
        self._answers = list(answers)

    def publish_unconfirmed(self, message: str, **_: Any) -> int:
        self.published.append(message)
        return len(self.published)

    def wait(self, _methods: object) -> None:
        name, number, multiple = self._answers.pop(0)
        for heard in list(self.events[name]):
            heard(number, multiple)

    @property
    def unheard(self) -> int:
        return len(self._answers)


def batch(channel: FakeChannel, size: int = 10) -> PublishBatch:
    return PublishBatch(channel, size)  # type: ignore[arg-type]  # what it needs of a channel


def test_nothing_is_waited_for_before_the_flush_then_everything_is() -> None:
    channel = FakeChannel(("basic_ack", 2, True), ("basic_ack", 4, False), ("basic_ack", 3, False))
    sent = batch(channel)
    for word in "abcd":
        sent.publish(word, confirm_timeout=None, routing_key="q")
    assert (channel.published, channel.unheard) == (list("abcd"), 3)
    sent.flush()
    assert channel.unheard == 0


def test_a_full_batch_waits_before_it_goes_on() -> None:
    channel = FakeChannel(("basic_ack", 2, True), ("basic_ack", 3, True))
    sent = batch(channel, size=2)
    for word in "abc":
        sent.publish(word)
    assert channel.unheard == 1
    sent.flush()


def test_a_message_that_is_refused_is_told_once_all_answers_are_there() -> None:
    channel = FakeChannel(("basic_nack", 1, False), ("basic_ack", 2, False))
    sent = batch(channel)
    for word in "ab":
        sent.publish(word)
    with pytest.raises(BatchPublishError, match="1 messages refused"):
        sent.flush()
    assert channel.unheard == 0


def test_a_closed_batch_hears_nothing_more() -> None:
    channel = FakeChannel()
    sent = batch(channel)
    sent.publish("a")
    sent.discard()
    sent.flush()
    sent.close()
    assert [heard for heard in channel.events.values() if heard] == []
