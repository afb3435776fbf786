"""The heartbeat of one worker process, which lists its live children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db import workers
from app.db.engine import Database
from app.domain.leases import Child, HeldStep


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker process as its row tells it."""

    boot: UUID
    name: str
    pid: int
    version: str
    queues: tuple[str, ...]


def beat(system: Database, worker: Worker, children: Sequence[Child]) -> list[HeldStep]:
    """Write the heartbeat and return the steps these children hold whose run is being cancelled."""
    return workers.beat(system, worker.boot, worker.name, worker.pid, worker.version, worker.queues, children)


def forget_workers(system: Database) -> int:
    """Remove the rows of workers that ended long ago; return their number."""
    return workers.forget_old(system)
