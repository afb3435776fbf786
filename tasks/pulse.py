"""What a worker tells of its pool, what its pool processes follow."""

from __future__ import annotations

from typing import Any

from app.db.pools import tell_pools
from app.observability.metrics import BROKER_RECONNECTS, WORKER_PROCESSES
from app.observability.process import ProcessGauges
from app.services.pulse import Pulse
from app.services.shared_levels import SharedLevels
from tasks.deadlines import TABLE

SHARED = SharedLevels()
"""The log levels in force: made when the tasks are loaded, which is before the pool forks."""


class PoolFigures:
    """Tells the metrics of a worker's pool, of its connection to the broker; asked in the pool's parent."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self._reconnects = 0

    def tell(self) -> None:
        """Bring the metrics up to date."""
        processes = len((self._worker.pool.info or {}).get("processes") or (None,))
        busy = min(len(TABLE.running()), processes)
        WORKER_PROCESSES.labels("busy").set(busy)
        WORKER_PROCESSES.labels("idle").set(processes - busy)
        # Celery counts how often its consumer began anew, which it does with each new connection.
        reconnects = max(getattr(self._worker.consumer, "restart_count", 0), 0)
        BROKER_RECONNECTS.labels("consumer").inc(max(reconnects - self._reconnects, 0))
        self._reconnects = reconnects


def follow_parent() -> None:
    """Let this pool process follow the log levels of its parent, tell what it uses, from now on."""
    Pulse((SHARED.follow,), (ProcessGauges("worker-child").tell, tell_pools)).start()
