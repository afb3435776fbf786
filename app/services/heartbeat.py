"""The heartbeat of one worker process, which lists its live children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db import orders, processes, workers
from app.db.engine import Database
from app.domain.hands import Wanted
from app.domain.leases import Child, HeldStep


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as its row tells it."""

    boot: UUID
    name: str
    pid: int
    version: str
    queues: tuple[str, ...]


def beat(
    system: Database, worker: Worker, children: Sequence[Child], heeds: str = "active"
) -> list[HeldStep]:
    """Write the heartbeat and return the steps these children hold whose run is being cancelled.

    `heeds` is the order that this worker has carried out.
    """
    return workers.beat(
        system, worker.boot, worker.name, worker.pid, worker.version, worker.queues, children, heeds
    )


def leave(system: Database, worker: Worker) -> None:
    """Note that this worker has ended in good order, so that nobody counts on it; raises Unavailable."""
    workers.leave(system, worker.boot)


def wanted(system: Database, worker: Worker) -> Wanted:
    """Return what this worker is to be now; raises Unavailable."""
    return orders.wanted(system, worker.name)


def forget_workers(system: Database) -> int:
    """Remove the rows of processes that ended long ago, orders that nobody needs; return their number."""
    return workers.forget_old(system) + orders.forget_old(system) + processes.forget_old(system)
