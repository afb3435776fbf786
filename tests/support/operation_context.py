"""An operation's context for tests that call operations without a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import structlog

from app.domain.modules import OperationContext, Resources


def context(
    *,
    attempt: int = 1,
    targets: tuple[str, ...] = (),
    roots: tuple[Path, ...] = (),
    cancelled: Callable[[], bool] = lambda: False,
    timeout_s: float = 30,
) -> OperationContext:
    """Return the context of a first attempt that may reach only what is named."""
    return OperationContext(
        tenant_id=UUID(int=1),
        run_id=UUID(int=2),
        step="step",
        item=None,
        attempt=attempt,
        idempotency_key=f"{UUID(int=2)}:step:1",
        timeout_s=timeout_s,
        cancelled=cancelled,
        resources=Resources(targets, roots),
        log=structlog.get_logger("test"),
    )
