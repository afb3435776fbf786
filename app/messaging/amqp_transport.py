"""kombu's transport for RabbitMQ, whose batches are confirmed together."""

from __future__ import annotations

from typing import Any

from amqp import spec  # type: ignore[import-untyped]  # amqp ships no types
from kombu.exceptions import BatchPublishError
from kombu.transport import pyamqp


class PublishBatch:
    """Messages that one channel publishes without waiting; `flush` waits until RabbitMQ has all of them.

    One by one each message would wait for a write to the disk; together they wait for a few.
    """

    def __init__(self, channel: Channel, max_size: int) -> None:
        self.channel = channel
        self._max_size = max_size
        self._unconfirmed: set[int] = set()
        self._refused = 0
        channel.events["basic_ack"].add(self._confirmed)
        channel.events["basic_nack"].add(self._nacked)

    def publish(self, message: Any, **options: Any) -> None:
        """Publish one message; the one that makes the batch full waits for all."""
        self._unconfirmed.add(self.channel.publish_unconfirmed(message, **options))
        if len(self._unconfirmed) >= self._max_size:
            self.flush()

    def flush(self) -> None:
        """Wait until each message is confirmed; raises BatchPublishError when RabbitMQ refuses one."""
        while self._unconfirmed:
            self.channel.wait([spec.Basic.Ack, spec.Basic.Nack])
        refused, self._refused = self._refused, 0
        if refused:
            raise BatchPublishError(f"{refused} messages refused")

    def discard(self) -> None:
        """Wait for none of them: who published them does not count on any."""
        self._unconfirmed.clear()

    def close(self) -> None:
        """Listen no more."""
        self.channel.events["basic_ack"].discard(self._confirmed)
        self.channel.events["basic_nack"].discard(self._nacked)

    def _confirmed(self, number: int, multiple: bool) -> int:
        told = {one for one in self._unconfirmed if one == number or (multiple and one < number)}
        self._unconfirmed -= told
        return len(told)

    def _nacked(self, number: int, multiple: bool) -> None:
        self._refused += self._confirmed(number, multiple)


class Channel(pyamqp.Channel):
    """Numbers what it publishes, as RabbitMQ does in its confirmations."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._published = 0
        self._numbered = False
        super().__init__(*args, **kwargs)

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Return a batch of at most `max_size` messages that are not confirmed yet."""
        return PublishBatch(self, max_size)

    def publish_unconfirmed(self, message: Any, **options: Any) -> int:
        """Publish a message; return the number under which it will be confirmed."""
        if not self._numbered:
            self.confirm_select()
            self._numbered = True
        self._published += 1
        pyamqp.Channel.basic_publish(self, message, **options)
        return self._published

    def basic_publish_confirm(self, *args: Any, **options: Any) -> Any:
        """Publish a message, wait until it is confirmed."""
        self._published += 1
        return super().basic_publish_confirm(*args, **options)


class Connection(pyamqp.Connection):
    """A connection of such channels."""

    Channel = Channel


class Transport(pyamqp.Transport):
    """A transport of such connections."""

    Connection = Connection
    implements = pyamqp.Transport.implements.extend(batch_publish=True)


class SSLTransport(pyamqp.SSLTransport):
    """The same over TLS."""

    Connection = Connection
    implements = Transport.implements
