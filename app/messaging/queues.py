"""The queues of steps, as each kind of broker keeps them."""

from __future__ import annotations

from typing import Any

from celery.app.amqp import AMQP, Queues
from celery.worker import state
from celery.worker.consumer import Consumer
from kombu import Exchange, Queue

EXCHANGE = Exchange("quantum", type="direct")
DEAD = "quantum.dead"
DEAD_AT_MOST = 10_000
DELIVERIES_AT_MOST = 20
"""A step is poisoned when its process died three times; the broker's own cap stands well above that."""
QUORUM: dict[str, Any] = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERIES_AT_MOST,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD,
}


def is_amqp(broker_url: str) -> bool:
    """Tell whether the broker is RabbitMQ."""
    return broker_url.startswith("amqp")


def step_queue(name: str, broker_url: str) -> Queue:
    """Return a queue of steps: with RabbitMQ a quorum queue, whose dead letters are kept."""
    arguments = QUORUM if is_amqp(broker_url) else None
    return Queue(name, EXCHANGE, routing_key=name, queue_arguments=arguments)


def dead_queue() -> Queue:
    """Return where RabbitMQ puts messages over the delivery limit: for people to look at.

    Their steps are sent again from the rows.
    """
    return Queue(DEAD, Exchange(""), routing_key=DEAD, queue_arguments={"x-max-length": DEAD_AT_MOST})


class StepQueues(Queues):
    """The queues that a process knows; one that it only sends to is like those of the workers."""

    broker_url = ""

    def new_missing(self, name: str) -> Queue:
        """Return the queue of a name that nobody configured."""
        return step_queue(name, self.broker_url)


class StepAmqp(AMQP):
    """Celery's own, with these queues."""

    def queues_cls(self, *args: Any, **kwargs: Any) -> StepQueues:
        """Return the queues of this application."""
        queues = StepQueues(*args, **kwargs)
        queues.broker_url = str(self.app.conf.broker_url)
        return queues


class StepConsumer(Consumer):
    """The consumer of a worker over RabbitMQ.

    It has none of Celery's queues for delayed messages: delays stand in PostgreSQL.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Take no more messages when connected again than there will be processes with nothing to do.

        Celery would take one for each process of the pool as it began, however many of them execute a step.
        """
        super().on_connection_error_after_connected(exc)
        self.initial_prefetch_count = max(self.pool.num_processes - len(state.active_requests), 1)

    class Blueprint(Consumer.Blueprint):
        """Its parts."""

        default_steps = tuple(
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        )
