"""What an attempt tells while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from app.db import progress, step_logs
from app.domain.leases import StepMessage
from app.domain.modules import ArtifactAccess, Heartbeat, StepLog
from app.observability.capture import captured
from app.services.ports import Executor
from app.services.progress import Progress
from app.services.resolve_secrets import ResolvedSecrets
from app.services.step_logs import AttemptLog, LogBuffer


@dataclass(frozen=True, slots=True)
class Reports:
    """The ways in which an operation reports, for its context."""

    heartbeat: Heartbeat
    log: StepLog
    artifacts: ArtifactAccess


@contextmanager
def reporting(
    executor: Executor, message: StepMessage, tries: int, secrets: ResolvedSecrets, kept: ArtifactAccess
) -> Iterator[Reports]:
    """Take the reports of the claim `tries` of a step within the block."""
    database = executor.engine.database
    heartbeat = Progress(executor.courier, partial(progress.report, database, message, tries), secrets.mask)
    buffer = LogBuffer(
        executor.courier, partial(step_logs.write, database, message, tries), secrets.values.values()
    )
    try:
        with captured(buffer.record):
            yield Reports(heartbeat, AttemptLog(executor.log, buffer), kept)
    finally:
        heartbeat.close()
        buffer.close()
