"""Bulk actions: one steering command for many runs, frozen when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

REPLAY: Final = "replay-dead-letters"

LEGAL_STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "retry": ("failed",),
    "cancel": ("queued", "running", "pausing", "paused"),
    "pause": ("queued", "running"),
    "resume": ("pausing", "paused"),
    "rerun": ("succeeded", "failed", "cancelled", "superseded"),
    REPLAY: ("failed",),
}
"""The states of runs that each action is for: a filter without a state means all of them."""

BULK_ACTIONS: Final = tuple(LEGAL_STATES)
LOADING: Final = frozenset({"retry", "resume", "rerun", REPLAY})
"""The actions that make work for the workers."""
FROZEN_VERSION: Final = frozenset({"retry", "rerun", REPLAY})
"""The actions on runs that have ended: somebody who touched one since the freeze was first. A run that is
under way changes by itself, so the others ask for its state alone."""

OUTCOMES: Final = ("pending", "ok", "illegal", "conflict", "not_found", "error")
MOST_ITEMS: Final = 100_000
MOST_PER_SECOND: Final = 500.0
LEAST_PER_SECOND: Final = 0.01
USUAL_PER_SECOND: Final = 50.0
SAMPLE: Final = 10


@dataclass(frozen=True, slots=True)
class BulkAction:
    """A bulk action as it stands; `matched` runs fitted the filter, `total` were frozen, `done` are settled.

    `rate` counts items per second; `counts` tells how many items have which outcome.
    """

    id: UUID
    action: str
    filter: Mapping[str, Any]
    state: str
    rate: float
    reason: str | None
    matched: int
    total: int
    done: int
    counts: Mapping[str, int]
    version: int
    created_by: Mapping[str, Any]
    created_at: datetime
    finished_at: datetime | None
    sample: tuple[Mapping[str, Any], ...] = field(default=())


@dataclass(frozen=True, slots=True)
class BulkItem:
    """What is to be acted on: a run, or one dead letter of it; `version` is the run's at the freeze."""

    n: int
    run_id: UUID
    step: str | None
    version: int


@dataclass(frozen=True, slots=True)
class BulkBatch:
    """A running bulk action that one executor holds, with how many items it may do now."""

    tenant_id: UUID
    id: UUID
    action: str
    reason: str | None
    created_by: Mapping[str, Any]
    size: int
