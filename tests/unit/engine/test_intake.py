"""What a worker over RabbitMQ may hold follows its pool, message by message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from tasks.intake import Intake


class Request:
    """A message that a worker holds."""


class Shares:
    """Stands for consumers of one channel: what each may hold, those that consume alone."""

    def __init__(self, channel: object) -> None:
        self.channel = channel
        self.on_message = None
        self.living: list[Any] = []

    def made(self, *_: object, **__: object) -> Any:
        return Share(self)


class Share:
    """One consumer."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self.channel = shares.channel
        self.on_message = None
        self.count = 0

    def qos(self, *, prefetch_count: int, apply_global: bool) -> None:
        assert (prefetch_count > 0, apply_global) == (True, False), "0 is no limit"
        self.count = prefetch_count

    def consume(self) -> None:
        self._shares.living.append(self)

    def cancel(self) -> None:
        self._shares.living.remove(self)


@pytest.fixture
def shares() -> Shares:
    return Shares(object())


@pytest.fixture
def consumer(shares: Shares, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker of two processes, connected, which consumes."""
    monkeypatch.setattr(state, "reserved_requests", set())
    first = Share(shares)
    first.qos(prefetch_count=2, apply_global=False)
    first.consume()
    return SimpleNamespace(
        task_consumer=first,
        initial_prefetch_count=2,
        on_decode_error=None,
        connection=SimpleNamespace(transport=SimpleNamespace(driver_type="amqp")),
        app=SimpleNamespace(amqp=SimpleNamespace(TaskConsumer=shares.made)),
    )


def counts(shares: Shares) -> list[int]:
    return [share.count for share in shares.living]


def holds(*requests: Request) -> None:
    state.reserved_requests = set(requests)


def test_more_processes_take_more_and_what_is_there_stays(shares: Shares, consumer: Any) -> None:
    intake = Intake(consumer)
    holds(Request(), Request())
    for processes, wanted in ((2, [2]), (5, [2, 3]), (5, [2, 3]), (6, [2, 3, 1])):
        intake.follow(consumer, processes)
        assert counts(shares) == wanted


def test_fewer_processes_take_fewer_counting_what_is_still_held(shares: Shares, consumer: Any) -> None:
    intake = Intake(consumer)
    intake.follow(consumer, 4)
    one, other = Request(), Request()
    holds(one, other)
    intake.follow(consumer, 3)
    assert counts(shares) == [1], "three processes, two of which have something"
    holds(other)
    intake.follow(consumer, 3)
    assert counts(shares) == [1, 1]
    holds()
    intake.follow(consumer, 3)
    assert sum(counts(shares)) == 3


def test_a_worker_that_was_connected_anew_takes_no_more_than_it_has_processes(
    shares: Shares, consumer: Any
) -> None:
    old = Request()
    holds(old)
    consumer.initial_prefetch_count = consumer.task_consumer.count = 1
    intake = Intake(consumer)
    intake.follow(consumer, 2)
    assert counts(shares) == [1]
    holds()
    intake.follow(consumer, 2)
    assert sum(counts(shares)) == 2


def test_it_belongs_to_a_channel_of_rabbitmq(consumer: Any) -> None:
    first = Intake.of(consumer, None)
    assert first is not None
    assert Intake.of(consumer, first) is first
    consumer.task_consumer.channel = object()
    assert Intake.of(consumer, first) not in (None, first)
    consumer.connection.transport.driver_type = "redis"
    assert Intake.of(consumer, first) is None
