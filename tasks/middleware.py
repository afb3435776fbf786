"""What surrounds every step task, in one visible order."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from app.domain.leases import StepMessage
from app.observability.context import step_context
from app.observability.metrics import RUNS_FINISHED, STEP_SECONDS, STEPS_FINISHED
from app.services.execute import StepResult

log = logging.getLogger("quantum.step")

Call = Callable[[], StepResult]
FINAL = frozenset({"succeeded", "failed", "cancelled"})


class Middleware(Protocol):
    """Wraps one execution: does its own, and calls the rest once."""

    def __call__(self, message: StepMessage, call: Call, /) -> StepResult: ...


def named(message: StepMessage, call: Call) -> StepResult:
    """Let every line of the log, from the claim to the last commit, name tenant, run, step."""
    with step_context(message.tenant_id, message.run_id, message.key):
        return call()


def measured(_message: StepMessage, call: Call) -> StepResult:
    """Count and time the attempts by operation; a refused claim is no attempt."""
    started = time.monotonic()
    result = call()
    if result.operation:
        STEPS_FINISHED.labels(result.operation, result.outcome).inc()
        STEP_SECONDS.labels(result.operation).observe(time.monotonic() - started)
        if result.run_state in FINAL:
            RUNS_FINISHED.labels(result.run_state).inc()
    return result


def told(message: StepMessage, call: Call) -> StepResult:
    """Log what an operator may look for: failures, retries, lost claims."""
    result = call()
    if result.error is not None or result.outcome == "lost":
        log.info(
            "step_not_done",
            extra={
                "dispatch_epoch": message.epoch,
                "outcome": result.outcome,
                "error_code": (result.error or {}).get("code"),
                "trace_id": result.trace_id,
            },
        )
    return result


STEP_MIDDLEWARE: tuple[Middleware, ...] = (named, measured, told)
"""Outermost first."""


def surrounded(message: StepMessage, call: Call) -> StepResult:
    """Run `call` inside every middleware."""
    for middleware in reversed(STEP_MIDDLEWARE):
        call = _bound(middleware, message, call)
    return call()


def _bound(middleware: Middleware, message: StepMessage, call: Call) -> Call:
    return lambda: middleware(message, call)
