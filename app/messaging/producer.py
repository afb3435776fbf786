"""The sending of canvases: quick to fail while the broker is away."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

from amqp.exceptions import AMQPError  # type: ignore[import-untyped]  # amqp ships no types
from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from app.domain.errors import Unavailable
from app.messaging.broker_epoch import BrokerLink
from app.messaging.chains import lean

log = logging.getLogger(__name__)

WAITING = 2000
BATCH = 200


class CanvasProducer:
    """Sends canvases of task names through one Celery application; a batch travels in one round trip."""

    def __init__(self, app: Celery, link: BrokerLink) -> None:
        self._app = app
        self._link = link

    def epoch(self) -> str | None:
        """Return the broker's present epoch, None while it is away."""
        return self._link.current()

    def send(self, canvases: Iterable[Any]) -> None:
        """Send each canvas; raises Unavailable when the broker is away, at once if that is known."""
        if self._link.current() is None:
            raise Unavailable("broker")
        canvases = (lean(self._app, canvas) for canvas in canvases)
        try:
            with self._app.producer_or_acquire() as producer, producer.batch(BATCH):
                for canvas in canvases:
                    canvas.apply_async(producer=producer)
        except (AMQPError, BatchPublishError, OperationalError, RedisError, OSError) as fault:
            self._link.broke()
            raise Unavailable("broker") from fault


class SendThread:
    """Runs sending jobs off the request path, in order; the queue is bounded by `WAITING` jobs."""

    def __init__(self, link: BrokerLink) -> None:
        self._link = link
        self._jobs: queue.Queue[Callable[[], None]] = queue.Queue(WAITING)
        self._started = threading.Lock()
        self._thread: threading.Thread | None = None

    def epoch(self) -> str | None:
        """Return the epoch to promise a send for: None when the broker is away or too many jobs wait."""
        self._start()
        return None if self._jobs.qsize() > WAITING // 2 else self._link.epoch

    def later(self, job: Callable[[], None]) -> None:
        """Hand over a job. One that finds no room is dropped: recovery finds its steps unsent."""
        self._start()
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            log.warning("send_queue_full", extra={"waiting": WAITING})

    def _start(self) -> None:
        """Start the thread in the process that serves: a thread does not survive a fork."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._started:
            if self._thread is None or not self._thread.is_alive():
                self._link.refresh()  # the first caller waits, so that its intent need not wait for beat
                self._link.watch()
                self._thread = threading.Thread(target=self._run, name="canvas-sender", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job()
            except Exception:
                # The job settles what it can; the dispatcher does the rest, so this thread must go on.
                log.exception("send_job_failed")
