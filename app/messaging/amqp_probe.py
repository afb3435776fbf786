"""The broker epoch on RabbitMQ: the life of one message in a marker queue."""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

from kombu import Connection, Queue

from app.messaging.broker_epoch import EpochReader

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
