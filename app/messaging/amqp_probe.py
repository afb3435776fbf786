"""What can be asked of RabbitMQ: its epoch, kept in a stream, with the length of each queue."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from amqp.exceptions import AMQPError, NotFound  # type: ignore[import-untyped]  # amqp ships no types
from kombu import Connection
from kombu.exceptions import KombuError

from app.domain.errors import Unavailable
from app.domain.lost import BrokerView, QueueView
from app.messaging.broker_epoch import BrokerLink, EpochReader
from app.messaging.queues import dead_queue

MARKER = "quantum.epoch"
STREAM = {"x-queue-type": "stream"}
FIRST = {"x-stream-offset": "first"}

Busy = Callable[[], Collection[str]]
"""Tells the queues of which a live worker has no process idle."""


class AmqpLine:
    """One kept connection for small questions, made anew after a fault and in a forked child."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._kept: tuple[int, Any] | None = None
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()  # a thread of the parent may have held it
        self._kept = None

    @contextmanager
    def channel(self) -> Iterator[Any]:
        """Yield a channel, to one caller at a time; raises ConnectionError when RabbitMQ does not answer."""
        with self._lock:
            try:
                with self._connected().channel() as channel:
                    yield channel
            except (OSError, AMQPError, KombuError) as fault:
                self._drop()
                raise ConnectionError(f"rabbitmq: {type(fault).__name__}") from fault

    def _connected(self) -> Any:
        if self._kept is None:
            limits = {"read_timeout": self._timeout_s, "write_timeout": self._timeout_s}
            made = Connection(self._url, connect_timeout=self._timeout_s, transport_options=limits)
            made.connect()
            self._kept = (os.getpid(), made)
        return self._kept[1]

    def _drop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept[1].collect(self._timeout_s)

    def first_of(self, channel: Any, stream: str) -> str | None:
        """Return the first message of a stream, which reading does not take away; None when it has none."""
        found: list[Any] = []
        channel.basic_qos(0, 1, False)
        tag = channel.basic_consume(stream, callback=found.append, arguments=FIRST)
        try:
            channel.connection.drain_events(timeout=self._timeout_s)
        except TimeoutError:
            return None
        channel.basic_cancel(tag)
        return str(found[0].body) if found else None


def amqp_reader(url: str, timeout_s: float) -> EpochReader:
    """Return a reader of the first message of a stream; a broker that lost its queues lost it too.

    Reading takes nothing away, so readers never wait for each other; of two that begin the stream at once
    both see the one message that came first. Raises OSError when RabbitMQ does not answer.
    """
    line = AmqpLine(url, timeout_s)

    def read() -> str:
        with line.channel() as channel:
            held = channel.queue_declare(MARKER, durable=True, auto_delete=False, arguments=STREAM)
            if held.message_count == 0:
                dead_queue()(channel).declare()
                message = channel.prepare_message(
                    uuid4().hex, None, "text/plain", "utf-8", None, {"delivery_mode": 2}
                )
                channel.basic_publish(message, exchange="", routing_key=MARKER)
            found = line.first_of(channel, MARKER)
            if found is None:
                raise ConnectionError("the epoch cannot be read yet")
            return found

    return read


class AmqpBrokerView:
    """Tells which queues are empty: RabbitMQ does not let anybody read the messages that wait."""

    def __init__(self, url: str, link: BrokerLink, timeout_s: float, busy: Busy) -> None:
        self._line = AmqpLine(url, timeout_s)
        self._link = link
        self._busy = busy

    def look(self, queues: Sequence[str]) -> BrokerView:
        """Return the epoch, and as read whole each queue that holds nothing, as far as can be told.

        What a worker has taken in advance is in no queue. It would begin it with the first process that is
        idle; so an empty queue tells nothing while one of its workers has none. Raises Unavailable.
        """
        epoch = self._link.refresh()
        if epoch is None:
            raise Unavailable("broker")
        busy = self._busy()
        try:
            return BrokerView(epoch, {name: self._queue(name, name in busy) for name in queues})
        except ConnectionError as fault:
            raise Unavailable("broker") from fault

    def _queue(self, name: str, busy: bool) -> QueueView:
        with self._line.channel() as channel:
            try:
                held = channel.queue_declare(name, passive=True)
            except NotFound:
                # Gone, with all that anybody had taken from it.
                return QueueView(frozenset(), whole=True, empty=True)
        empty = held.message_count == 0
        return QueueView(frozenset(), whole=empty and not busy, empty=empty)

    def depths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many messages wait in each of `queues`; raises Unavailable when RabbitMQ is away."""
        try:
            return {name: self._depth(name) for name in queues}
        except ConnectionError as fault:
            raise Unavailable("broker") from fault

    def _depth(self, name: str) -> int:
        with self._line.channel() as channel:
            try:
                return int(channel.queue_declare(name, passive=True).message_count)
            except NotFound:
                return 0
