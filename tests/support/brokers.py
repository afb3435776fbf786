"""What a broker holds, as a test looks into it."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any, Protocol

import redis
from amqp.exceptions import NotFound  # type: ignore[import-untyped]  # amqp ships no types
from celery import Celery
from kombu import Connection

from app.messaging.queues import is_amqp

BROKER_VARIABLE = "TEST_BROKER"
"""`rabbitmq` runs a suite over RabbitMQ instead of Valkey."""
INSPECT_WITHIN_S = 1.0


class Broker(Protocol):
    """Looks into one kind of broker."""

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Return the messages that wait in the queue, each with its embedded chain and chord."""

    def delivered(self) -> list[dict[str, Any]]:
        """Return the messages that a worker has but has not confirmed."""


class ValkeyBroker:
    """Reads kombu's lists."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

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
    """Takes messages and gives them back; asks the workers for what they have."""

    def __init__(self, url: str, app: Celery) -> None:
        self._url = url
        self._app = app

    def messages(self, queue: str) -> list[dict[str, Any]]:
        found = []
        with Connection(self._url) as connection, connection.channel() as channel:
            try:
                while (message := channel.basic_get(queue)) is not None:
                    found.append(told(message.properties["application_headers"], message.body))
            except NotFound:
                return []
        return found  # the channel is closed: they are back in their place

    def delivered(self) -> list[dict[str, Any]]:
        inspect = self._app.control.inspect(timeout=INSPECT_WITHIN_S)
        answers = [answer or {} for answer in (inspect.active(), inspect.reserved())]
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


def broker_of(url: str, app: Celery) -> Broker:
    """Return a look into the broker of this URL."""
    return RabbitBroker(url, app) if is_amqp(url) else ValkeyBroker(url)


def purge(url: str, queues: tuple[str, ...]) -> None:
    """Empty these queues of RabbitMQ, those that it has: senders of this process know them as declared."""
    with Connection(url) as connection:
        for queue in queues:
            with suppress(NotFound), connection.channel() as channel:
                channel.queue_purge(queue)
