"""Workflow definitions as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.domain.retry import RetryPolicy

MAX_STEPS = 2_000
UNDO = "undo-"
"""Begins the id of a compensation, before that of its step; the grammar of ids has no hyphen."""
MAX_ITEMS = 10_000
MAX_DEPTH = 32
MAX_NODES = 200_000
MAX_CHARACTERS = 1_000_000
ONE_ATTEMPT = RetryPolicy()
WAIT = "wait"
"""What stands as the operation of a step that waits; a real operation has a dot in its name."""
WORKFLOW = "workflow"
"""What stands as the operation of a step that is a run of another workflow."""


@dataclass(frozen=True, slots=True)
class StepDefinition:
    """One step as written: `timeout_s` in seconds or None for the operation's own limit.

    `when` is CEL text or None, `foreach` CEL text, a literal list, or None for a plain step, of whose items
    `max_parallel` may be under way at once. `wait` says what a step waits for whose `uses` is WAIT,
    `workflow` which one a step runs whose `uses` is WORKFLOW: `name` or `name@version`. `compensate` undoes
    the step. `outcomes` names the needs that need not end well: failure, always.
    """

    id: str
    uses: str
    inputs: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    outcomes: Mapping[str, str] = field(default_factory=dict)
    wait: Mapping[str, Any] | None = None
    workflow: str | None = None
    when: str | None = None
    foreach: str | tuple[Any, ...] | None = None
    max_parallel: int | None = None
    retry: RetryPolicy = ONE_ATTEMPT
    timeout_s: float | None = None
    queue: str | None = None
    continue_on_failure: bool = False
    cache: bool = True
    compensate: StepDefinition | None = None


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many runs whose `key` comes out equal may be under way; `on_full`: queue, skip, cancel_oldest."""

    key: str
    limit: int = 1
    on_full: str = "queue"


@dataclass(frozen=True, slots=True)
class Definition:
    """A named, versioned, immutable graph template; `output` tells what a run of it gives back.

    `limits` are those of its runs in seconds. `compensates` tells whether a failed run undoes what it
    completed.
    """

    name: str
    version: int
    description: str
    steps: tuple[StepDefinition, ...]
    output: Mapping[str, Any] = field(default_factory=dict)
    concurrency: Concurrency | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    compensates: bool = False
