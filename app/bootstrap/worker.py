"""The wiring of a worker."""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded

from app.bootstrap.presence import build_attendance, release
from app.bootstrap.pulse import PulseOf, build_pulse
from app.bootstrap.stores import build_box, build_flags
from app.domain.modules import ModuleRegistry, Resources
from app.observability.logging import get_log
from app.services.attendance import Attendance
from app.services.dispatch import Dispatch
from app.services.heartbeat import Worker
from app.services.lost_child import Nursing
from app.services.manage_secrets import secret_reader
from app.services.ports import Executor
from app.settings import Settings


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker uses: its pool processes execute, its parent nurses."""

    executor: Executor
    nursing: Nursing
    worker: Worker
    kill_after_s: float
    """How long a step may go on past its soft time limit."""
    stretches: bool
    """Whether a pool process goes on with the next step of a chain."""
    pulse: PulseOf
    attendance: Attendance

    def named(self, hostname: str) -> WorkerParts:
        """Return the parts under the name that Celery gave this worker."""
        return replace(self, worker=replace(self.worker, name=hostname))


def build_worker(settings: Settings, dispatch: Dispatch, registry: ModuleRegistry, boot: UUID) -> WorkerParts:
    """Return the parts of the worker that started as `boot`."""
    database = dispatch.engine.database
    executor = Executor(
        engine=dispatch.engine,
        registry=registry,
        secrets=secret_reader(build_box(settings), database),
        resources=Resources(settings.allowed_http_targets, settings.data_roots),
        log=get_log("operation"),
        interruption=SoftTimeLimitExceeded,
        random=random.random,
        clock=time.monotonic,
        wait=time.sleep,
        flags=build_flags(database),
    )
    worker = Worker(boot, "worker", os.getpid(), release(), settings.worker_queues)
    nursing = Nursing(dispatch, random.random)
    pulse = partial(build_pulse, settings, database=dispatch.system)
    attendance = build_attendance(settings, "worker", dispatch.system)
    rules = settings.step_kill_after_s, settings.worker_stretches
    return WorkerParts(executor, nursing, worker, *rules, pulse, attendance)
