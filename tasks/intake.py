"""How many messages a worker takes from RabbitMQ, whose quorum queues fix that when a consumer begins."""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from celery.worker import state

AMQP: Final = "amqp"


class Intake:
    """Keeps what a worker may hold equal to its pool's size, over one channel of it.

    A consumer's share cannot be changed, so further processes get consumers of their own. For fewer, all
    consumers end before new ones begin; what the worker still holds counts against these until it is done, or
    it would take messages that nobody here has time for while others are idle. Each queue counts for itself.
    """

    def __init__(self, consumer: Any) -> None:
        self.channel = consumer.task_consumer.channel
        self._more: list[Any] = []
        self._share: int = consumer.initial_prefetch_count
        self._older: WeakSet[Any] = WeakSet(held())

    @classmethod
    def of(cls, consumer: Any, known: Intake | None) -> Intake | None:
        """Return the intake of this consumer's channel, `known` if it is that; None over another broker.

        A new one must be made before the pool changes its size.
        """
        if consumer.connection.transport.driver_type != AMQP:
            return None
        return (
            known if known is not None and known.channel is consumer.task_consumer.channel else cls(consumer)
        )

    def follow(self, consumer: Any, processes: int) -> None:
        """Bring what the worker may hold closer to so many messages; asked again, it goes on."""
        if self._share > processes:
            self.end()
            consumer.task_consumer.cancel()
            self.prepare(consumer.task_consumer, processes)
            consumer.task_consumer.consume()
        free = processes - self._share - len(self._older & held())
        if free > 0:
            more = consumer.app.amqp.TaskConsumer(
                self.channel,
                on_decode_error=consumer.on_decode_error,
                on_message=consumer.task_consumer.on_message,
            )
            more.qos(prefetch_count=free, apply_global=False)
            more.consume()
            self._more.append(more)
            self._share += free

    def end(self) -> None:
        """End the further consumers; who asks ends the first one, too."""
        for more in self._more:
            more.cancel()
        self._more.clear()
        self._share = 0
        self._older = WeakSet(held())

    def prepare(self, task_consumer: Any, processes: int) -> None:
        """Fix the share of the consumer that begins next: what is free of so many processes, one at least."""
        self._share = max(processes - len(self._older & held()), 1)
        task_consumer.qos(prefetch_count=self._share, apply_global=False)


def held() -> set[Any]:
    """Return the requests that this worker executes, or will as soon as a process is idle."""
    return set(state.reserved_requests)
