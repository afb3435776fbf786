"""Task events of steps that came without a message of their own."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from amqp.exceptions import AMQPError  # type: ignore[import-untyped]  # amqp ships no types
from celery import Celery
from celery.events.event import Event, get_exchange
from celery.utils.time import utcoffset
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from app.messaging.events import AT_MOST, FLUSH_S

log = logging.getLogger(__name__)

MULTI = "task.multi"
TRANSIENT = 1


class StepEvents:
    """Tells Flower from a pool process what became of a step, as Celery's parent does for a message.

    A thread sends what gathered in `FLUSH_S` seconds as one message. Events are for watching only: those that
    the broker does not take are dropped, as are those beyond `AT_MOST` that wait.
    """

    def __init__(self, app: Celery, hostname: str) -> None:
        self._app = app
        self._hostname = hostname
        self._waiting: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._some = threading.Event()
        threading.Thread(target=self._run, name="step-events", daemon=True).start()

    def tell(self, kind: str, task_id: str, **fields: Any) -> None:
        """Note one event; `kind` is Celery's, as `task-started`."""
        event = Event(
            kind,
            uuid=task_id,
            hostname=self._hostname,
            utcoffset=utcoffset(),
            pid=os.getpid(),
            clock=self._app.clock.forward(),
            **fields,
        )
        with self._lock:
            if len(self._waiting) < AT_MOST:
                self._waiting.append(event)
        if (
            not self._some.is_set()
        ):  # it is cleared before what waits is taken; setting it costs more than asking
            self._some.set()

    def flush(self) -> None:
        """Send what waits."""
        with self._lock:
            batch, self._waiting = self._waiting, []
        if not batch:
            return
        try:
            with self._app.producer_or_acquire() as producer:
                exchange = get_exchange(producer.connection, self._app.conf.event_exchange)
                producer.publish(
                    batch,
                    routing_key=MULTI,
                    exchange=exchange.name,
                    declare=[exchange],
                    serializer="json",
                    headers={"hostname": self._hostname},
                    delivery_mode=TRANSIENT,
                    retry=False,
                )
        except (AMQPError, OperationalError, RedisError, OSError):
            log.info("step_events_dropped", extra={"events": len(batch)})

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._some.wait()
            pause.wait(FLUSH_S)
            self._some.clear()
            try:
                self.flush()
            except Exception:
                # What is told to a watcher must never end the telling.
                log.exception("step_events_failed")
