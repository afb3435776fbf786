"""Runs as the services see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.domain.tracing import parse_traceparent


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a plan; `version` counts its changes, `round` the operator's retries.

    A sub-workflow's run has a parent; `depth` tells how many runs stand above it.
    While `admitted_at` is None a queued or running one waits for room in its `pool` or under a limit.
    """

    id: UUID
    intent_id: UUID
    generation: int
    type: str
    state: str
    workflow_name: str
    workflow_version: int
    plan_hash: str
    priority: int
    round: int
    open_steps: int
    failed_steps: int
    error: Any
    version: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    tenant_id: UUID
    pool: str
    admitted_at: datetime | None
    concurrency_key: str | None
    key_limit: int | None
    held_by_key: bool
    deadline_at: datetime | None
    begin_by: datetime | None
    compensation: str | None
    parent_run_id: UUID | None = None
    parent_step: str | None = None
    depth: int = 0
    trace: str | None = None

    @property
    def trace_id(self) -> str | None:
        """Where its spans and log lines are found; None for a run that nobody's request or schedule began."""
        started = parse_traceparent(self.trace)
        return None if started is None else started.trace_id

    @property
    def parent(self) -> dict[str, Any] | None:
        """The run whose step this one is, None for the run of an intent."""
        if self.parent_run_id is None:
            return None
        return {"run_id": self.parent_run_id, "step": self.parent_step}

    @property
    def waits(self) -> bool:
        """Whether it waits for admission."""
        return self.admitted_at is None and self.state in ("queued", "running")

    @property
    def workflow(self) -> dict[str, Any]:
        """Which definition the run follows."""
        return {"name": self.workflow_name, "version": self.workflow_version}
