"""The door through which every step enters a worker."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.domain.leases import NewerProtocol, StepMessage
from app.messaging.celery_app import STEP_TASK
from tasks.base import StepTask


@shared_task(name=STEP_TASK, base=StepTask, bind=True)  # type: ignore[untyped-decorator]  # Celery ships no types
def step(task: StepTask, *args: Any) -> str:
    """Execute one step: `args` are tenant, run, step key, dispatch epoch."""
    try:
        message = StepMessage.of(args)
    except NewerProtocol as newer:
        return task.give_back(newer)
    return task.execute(message)
