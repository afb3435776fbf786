"""What a worker makes of its order: whether it takes messages, how many processes its pool has."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from app.domain.hands import LARGEST_POOL, Wanted
from tasks.intake import Intake
from tasks.stretch import CLOSING

log = logging.getLogger(__name__)

QUARANTINED: Final = "quarantined"


class Obedience:
    """Brings one worker step by step to what is ordered; asked with each heartbeat, so nothing is remembered.

    A broker connection that breaks, a pool whose processes are busy, only mean that the next beat goes on.
    What touches Celery runs in its loop: the heart is another thread.
    """

    def __init__(self, worker: Any, queues: Sequence[str]) -> None:
        self._worker = worker
        self._queues = tuple(queues)
        self._size = int(getattr(worker.pool, "num_processes", 0) or 0)
        self._intake: Intake | None = None
        self.heeds = "active"

    def heed(self, wanted: Wanted) -> None:
        """Do the next step towards `wanted`; `heeds` tells what is carried out."""
        consumer = self._worker.consumer
        if consumer is None or consumer.task_consumer is None:
            return  # between two connections: it consumes nothing now
        if self._consumes(consumer) == wanted.consumes:
            self.heeds = wanted.state
        consumer.call_soon(self._obey, consumer, wanted)

    def _consumes(self, consumer: Any) -> bool:
        return any(consumer.task_consumer.consuming_from(queue) for queue in self._queues)

    def _obey(self, consumer: Any, wanted: Wanted) -> None:
        """Do the step in the worker's loop, which comes to it late when the worker ends: no pool is left."""
        if consumer.task_consumer is None or CLOSING:
            return
        self._intake = Intake.of(consumer, self._intake)
        if self._consumes(consumer) != wanted.consumes:
            self._select(consumer, wanted.consumes)
        size = min(wanted.pool_size or self._size, LARGEST_POOL)
        if size and size != len(self._worker.pool.info.get("processes") or ()):
            _resize(consumer, size)
        if self._intake is not None and wanted.consumes:
            self._intake.follow(consumer, consumer.pool.num_processes)

    def _select(self, consumer: Any, consume: bool) -> None:
        """Begin or cease to take messages; Celery keeps to it when it connects anew."""
        if self._intake is not None:
            self._intake.end()
            if consume:
                self._intake.prepare(consumer.task_consumer, consumer.pool.num_processes)
        for queue in self._queues:
            if consume and not consumer.task_consumer.consuming_from(queue):
                consumer.add_task_queue(queue)
            elif not consume and consumer.task_consumer.consuming_from(queue):
                consumer.cancel_task_queue(queue)
        log.warning("worker_takes_messages" if consume else "worker_takes_no_messages")


def _resize(consumer: Any, size: int) -> None:
    """Grow the pool, or shrink it as far as processes are idle."""
    pool = consumer.pool
    if not hasattr(pool, "grow"):
        log.warning("pool_has_one_size")  # of threads
        return
    before = pool.num_processes
    if size > before:
        pool.grow(size - before)
    elif size < before:
        # In one call: a process that is told to end still counts as idle for the next.
        with contextlib.suppress(ValueError):  # not enough of them are idle: the next beat tells the others
            pool.shrink(before - size)
    if pool.num_processes != before:
        consumer._update_prefetch_count(pool.num_processes - before)
