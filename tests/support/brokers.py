"""What a broker holds, as a test looks into it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import redis
from amqp.exceptions import NotFound  # type: ignore[import-untyped]  # amqp ships no types
from celery import Celery
from kombu import Connection

from app.messaging.amqp_probe import AmqpLine
from app.messaging.queues import is_amqp
from app.settings import inherited_environment

BROKER_VARIABLE = "TEST_BROKER"
"""`rabbitmq` runs a suite over RabbitMQ instead of Valkey."""
REDIS_BROKER = "redis_broker"
"""The marker of tests about Redis as the broker, whose argument says why another broker has no such thing."""
ANSWERS_WITHIN_S = 1.0


def over_rabbitmq() -> bool:
    """Tell whether this test session asks for RabbitMQ as the broker."""
    return inherited_environment().get(BROKER_VARIABLE) == "rabbitmq"


class Broker(Protocol):
    """Looks into one kind of broker."""

    def depth(self, queue: str) -> int:
        """Return how many messages wait in the queue."""

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Return the messages that wait in the queue, each with its embedded chain and chord."""

    def delivered(self) -> list[dict[str, Any]]:
        """Return the messages that a worker has but has not confirmed."""


class ValkeyBroker:
    """Reads kombu's lists."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def depth(self, queue: str) -> int:
        length: Any = self._client.llen(queue)
        return int(length)

    def messages(self, queue: str) -> list[dict[str, Any]]:
        raws: Any = self._client.lrange(queue, 0, -1)
        return [self._message(json.loads(raw)) for raw in raws]

    def delivered(self) -> list[dict[str, Any]]:
        raws: Any = self._client.hvals("unacked")
        return [self._message(json.loads(raw)[0]) for raw in raws]

    @staticmethod
    def _message(message: Any) -> dict[str, Any]:
        return told(message["headers"], base64.b64decode(message["body"]))


class RabbitBroker:
    """Takes messages and gives them back; asks the workers for what they have, `workers` tells their number.

    Each such look counts as one delivery of what waits, of which a message may have `DELIVERIES_AT_MOST`: who
    looks again and again asks for the depth.
    """

    def __init__(self, url: str, app: Celery, workers: Callable[[], int]) -> None:
        self._line = AmqpLine(url, ANSWERS_WITHIN_S)
        self._app = app
        self._workers = workers

    def depth(self, queue: str) -> int:
        with self._line.channel() as channel:
            try:
                return int(channel.queue_declare(queue, passive=True).message_count)
            except NotFound:
                return 0

    def messages(self, queue: str) -> list[dict[str, Any]]:
        found = []
        if self.depth(queue):
            with self._line.channel() as channel:
                while (message := channel.basic_get(queue)) is not None:
                    found.append(told(message.properties["application_headers"], message.body))
        return found  # the channel is closed: they are back in their place

    def delivered(self) -> list[dict[str, Any]]:
        workers = self._workers()
        if not workers:
            return []
        # It returns with the last answer; a worker that died a moment ago costs the whole time.
        inspect = self._app.control.inspect(timeout=ANSWERS_WITHIN_S, limit=workers)
        # In this order: what is begun between the two answers is in the second.
        answers = [answer or {} for answer in (inspect.reserved(), inspect.active())]
        return [task for answer in answers for tasks in answer.values() for task in tasks]


def told(headers: Any, body: Any) -> dict[str, Any]:
    """Return what tests compare of a message."""
    args, _, embed = json.loads(body)
    return {
        "id": headers["id"],
        "task": headers["task"],
        "args": args,
        "chain": embed["chain"],
        "chord": embed["chord"],
    }


def broker_of(url: str, app: Celery, workers: Callable[[], int]) -> Broker:
    """Return a look into the broker of this URL, on which so many `workers` listen."""
    return RabbitBroker(url, app, workers) if is_amqp(url) else ValkeyBroker(url)


def purge(url: str, queues: tuple[str, ...]) -> None:
    """Empty these queues of RabbitMQ, those that it has: senders of this process know them as declared."""
    with Connection(url) as connection:
        for queue in queues:
            with suppress(NotFound), connection.channel() as channel:
                channel.queue_purge(queue)
