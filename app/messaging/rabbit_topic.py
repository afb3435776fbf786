"""The event sink on RabbitMQ: a durable topic exchange, written under publisher confirms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from kombu import Connection, Exchange, Queue
from kombu.exceptions import KombuError

from app.domain.errors import Unavailable
from app.domain.events import PREFIX, Event
from app.domain.relay import (
    BatchResult,
    Blame,
    Lane,
    Outgoing,
    Receipt,
    body_of,
    fitting,
    gap_marker,
    subject_lane,
)

CONTENT_TYPE = "application/cloudevents+json"
PATIENCE_S = 5.0
DEAD_LETTERS_AT_MOST = 100_000
PERSISTENT = 2
_KOMBU = Connection("amqp://")
_FAULTS: tuple[type[Exception], ...] = (
    OSError,
    KombuError,
    *_KOMBU.connection_errors,
    *_KOMBU.channel_errors,
)
"""What comes up while the broker is away, is silent, or when it closes the channel."""


class RabbitTopic:
    """Publishes each CloudEvent with the routing key `<tenant id>.<type without prefix>`.

    Events that no queue asks for are dropped by the broker, as everywhere with a topic exchange.
    """

    name = "rabbitmq"
    memory = None

    def __init__(self, url: str, exchange: str, event_bytes: int) -> None:
        self._url = url
        self._exchange = Exchange(exchange, type="topic", durable=True)
        self._dead = Exchange(f"{exchange}.dead", type="topic", durable=True)
        self._event_bytes = event_bytes
        self._link: _Link | None = None

    def lane(self, event: Event) -> Lane:
        """Return the event's subject."""
        return subject_lane(event)

    def publish(self, epoch: str, batches: Mapping[Lane, Sequence[Outgoing]]) -> Receipt:  # noqa: ARG002 - the port's signature
        """Publish one event of each lane at a time, so that none overtakes an earlier one that is refused.

        A queue may refuse an event yet take the next; so the next of a lane goes when the one before it is
        confirmed. Raises Unavailable when the broker is away, or silent for `PATIENCE_S`.
        """
        bodies = {lane: [body_of(one) for one in batch] for lane, batch in batches.items()}
        fit = {lane: fitting(texts, self._event_bytes) for lane, texts in bodies.items()}
        sent = dict.fromkeys(batches, 0)
        refused: set[Lane] = set()
        with self._told() as link:
            while wave := [lane for lane in batches if lane not in refused and sent[lane] < fit[lane]]:
                tags = {
                    link.publish(self._exchange, batches[lane][sent[lane]], bodies[lane][sent[lane]]): lane
                    for lane in wave
                }
                nacked = {tags[tag] for tag in link.settled()}
                refused |= nacked
                for lane in wave:
                    sent[lane] += lane not in nacked
        return Receipt(False, {lane: self._result(lane, sent, refused, batches) for lane in batches})

    def bury(self, event: Event, reason: str, attempts: int) -> None:
        """Publish the event to the dead letters' exchange, whose queue keeps the last of them.

        Raises Unavailable when the broker does not take it.
        """
        body = json.dumps(event.cloud_event()).encode()
        if len(body) > self._event_bytes:
            body = json.dumps(gap_marker(event)).encode()
        headers = {"tenant": str(event.tenant_id), "reason": reason, "attempts": attempts}
        with self._told() as link:
            link.send(self._dead, _key(event), body, str(event.id), headers)
            if link.settled():
                raise Unavailable(self.name, "the queue of dead letters refuses")

    def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _drop(self) -> None:
        """Give the link up as it is: nothing can be said on it any more."""
        if self._link is not None:
            self._link.drop()
            self._link = None

    @contextmanager
    def _told(self) -> Iterator[_Link]:
        """Yield a link; after any fault of the broker it is given up, its open confirms with it."""
        try:
            if self._link is None:
                self._link = _Link(self._url, self._exchange, self._dead)
            yield self._link
        except _FAULTS as fault:
            self._drop()
            raise Unavailable(self.name, f"rabbitmq: {type(fault).__name__}") from fault
        except Unavailable:
            self._drop()
            raise

    def _result(
        self,
        lane: Lane,
        sent: Mapping[Lane, int],
        refused: set[Lane],
        batches: Mapping[Lane, Sequence[Outgoing]],
    ) -> BatchResult:
        if lane in refused:
            return BatchResult(sent[lane], "a queue that is bound to the exchange refused it")
        if sent[lane] < len(batches[lane]):
            return BatchResult(sent[lane], f"larger than {self._event_bytes} bytes", Blame.FOREVER)
        return BatchResult(sent[lane])


class _Link:
    """One connection with one channel in confirm mode, its exchanges declared."""

    def __init__(self, url: str, exchange: Exchange, dead: Exchange) -> None:
        timeouts = {"read_timeout": PATIENCE_S, "write_timeout": PATIENCE_S}
        self._connection = Connection(url, connect_timeout=PATIENCE_S, transport_options=timeouts)
        try:
            self._channel: Any = self._connection.channel()
            self._channel.confirm_select()
            exchange(self._channel).declare()
            arguments = {"x-max-length": DEAD_LETTERS_AT_MOST}
            Queue(dead.name, dead, "#", durable=True, queue_arguments=arguments)(self._channel).declare()
        except BaseException:
            self.drop()
            raise
        self._channel.events["basic_ack"].add(self._acked)
        self._channel.events["basic_nack"].add(self._nacked)
        self._last = 0
        self._open: set[int] = set()
        self._refused: set[int] = set()

    def publish(self, exchange: Exchange, one: Outgoing, body: bytes) -> int:
        """Send the event; return its delivery tag."""
        return self.send(exchange, _key(one.event), body, str(one.event.id), {})

    def send(self, exchange: Exchange, key: str, body: bytes, message_id: str, headers: Any) -> int:
        """Send one persistent message; return its delivery tag."""
        properties = {"delivery_mode": PERSISTENT, "message_id": message_id}
        message = self._channel.prepare_message(body, None, CONTENT_TYPE, "utf-8", headers, properties)
        self._last += 1
        self._open.add(self._last)
        self._channel.basic_publish(message, exchange.name, key)
        return self._last

    def settled(self) -> set[int]:
        """Wait until each message sent is confirmed or refused; return the tags of the refused ones.

        Raises TimeoutError when the broker is silent for `PATIENCE_S`.
        """
        while self._open:
            self._connection.drain_events(timeout=PATIENCE_S)
        refused, self._refused = self._refused, set()
        return refused

    def close(self) -> None:
        """Say goodbye, if the broker still hears it."""
        try:
            self._connection.release()
        except _FAULTS:
            self.drop()

    def drop(self) -> None:
        """Close the socket without a word."""
        self._connection.collect(PATIENCE_S)

    def _acked(self, tag: int, multiple: bool) -> None:
        self._open -= {one for one in self._open if one <= tag} if multiple else {tag}

    def _nacked(self, tag: int, multiple: bool) -> None:
        refused = {one for one in self._open if one <= tag} if multiple else {tag}
        self._refused |= refused
        self._open -= refused


def _key(event: Event) -> str:
    return f"{event.tenant_id}.{event.type.removeprefix(PREFIX)}"
