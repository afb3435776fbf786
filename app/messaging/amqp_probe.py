"""What can be asked of RabbitMQ: its epoch, kept in a marker queue, with the length of each queue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from amqp.exceptions import NotFound  # type: ignore[import-untyped]  # amqp ships no types
from kombu import Connection, Queue
from kombu.exceptions import OperationalError

from app.domain.errors import Unavailable
from app.domain.lost import BrokerView, QueueView
from app.messaging.broker_epoch import BrokerLink, EpochReader

MARKER = "quantum.broker-epoch"
LOOKS = 5
PAUSE_S = 0.05


def amqp_reader(url: str, timeout_s: float) -> EpochReader:
    """Return a reader of the message in the marker queue; a broker that lost its queues lost it too.

    The reader raises OSError when RabbitMQ does not answer.
    """

    def read() -> str:
        with Connection(url, connect_timeout=timeout_s) as connection:
            marker = Queue(MARKER, durable=True, queue_arguments={"x-max-length": 1})
            return _epoch(connection, marker(connection.default_channel))

    return read


def _epoch(connection: Any, marker: Any) -> str:
    marker.declare()
    for _ in range(LOOKS):
        message = marker.get(no_ack=False)
        if message is not None:
            message.requeue()
            return str(message.payload)
        time.sleep(PAUSE_S)  # another process may hold the message for a moment
    epoch = uuid4().hex
    connection.Producer().publish(epoch, routing_key=MARKER, serializer="json", delivery_mode=2)
    return epoch


class AmqpBrokerView:
    """Tells which queues are empty: RabbitMQ does not let anybody read the messages that wait."""

    def __init__(self, url: str, link: BrokerLink, timeout_s: float) -> None:
        self._url = url
        self._link = link
        self._timeout_s = timeout_s

    def look(self, queues: Sequence[str]) -> BrokerView:
        """Return the epoch, and an empty queue as read whole; raises Unavailable when RabbitMQ is away."""
        epoch = self._link.refresh()
        if epoch is None:
            raise Unavailable("broker")
        try:
            with Connection(self._url, connect_timeout=self._timeout_s) as connection:
                return BrokerView(epoch, {name: _queue(connection, name) for name in queues})
        except (OSError, OperationalError) as fault:
            raise Unavailable("broker") from fault


def _queue(connection: Any, name: str) -> QueueView:
    with connection.channel() as channel:
        try:
            waiting = channel.queue_declare(name, passive=True).message_count
        except NotFound:
            waiting = 0
    return QueueView(frozenset(), whole=waiting == 0)
