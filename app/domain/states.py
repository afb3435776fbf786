"""The legal states of runs, steps, intents, bulk actions; the database enforces the same tables."""

from __future__ import annotations

from collections.abc import Mapping

Transitions = Mapping[str, tuple[str, ...]]

# The states of pause, approval, compensation stand in the table already: the words are fixed by the design.
RUN_TRANSITIONS: Transitions = {
    "awaiting_approval": ("queued", "failed", "cancelled", "superseded"),
    # without a start it fails only by a time limit
    "queued": ("running", "pausing", "paused", "cancelling", "failed", "cancelled", "superseded"),
    "running": ("pausing", "paused", "cancelling", "compensating", "succeeded", "failed", "cancelled"),
    "pausing": ("paused", "running", "cancelling", "compensating", "succeeded", "failed", "cancelled"),
    # a skip may close the last open step of a paused run
    "paused": (
        "running",
        "queued",
        "cancelling",
        "compensating",
        "succeeded",
        "failed",
        "cancelled",
        "superseded",
    ),
    # a deadline stops a run as a cancellation does, and fails it
    "cancelling": ("compensating", "failed", "cancelled"),
    "compensating": ("failed", "cancelled"),
    # out of an end leads a compensation of the parent, which undoes its sub-workflows
    "succeeded": ("compensating",),
    "failed": ("running", "compensating"),  # or an operator's retry or skip
    "cancelled": ("compensating",),
    "superseded": (),
}
RUN_INITIAL: tuple[str, ...] = ("awaiting_approval", "queued")
RUN_TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled", "superseded"})

STEP_TRANSITIONS: Transitions = {
    # released and claimed in one commit, where one process goes on along a chain
    "pending": ("ready", "running", "skipped", "cancelled"),
    "ready": ("running", "waiting", "succeeded", "failed", "skipped", "cancelled"),
    "running": ("ready", "waiting", "succeeded", "failed", "skipped", "cancelled"),
    "waiting": ("ready", "succeeded", "failed", "skipped", "cancelled"),
    # Out of an end only an operator's retry leads. A fan whose items run again waits; the items of a fan that
    # is decided anew are cancelled.
    "succeeded": ("pending", "ready", "waiting", "cancelled", "compensating"),
    "failed": ("pending", "ready", "waiting", "cancelled"),
    "skipped": ("pending", "ready", "waiting", "cancelled"),
    "cancelled": ("pending", "ready", "waiting"),
    # It succeeded, still, when its compensation failed.
    "compensating": ("compensated", "succeeded"),
    "compensated": ("pending", "ready", "waiting", "cancelled"),
}
STEP_INITIAL: tuple[str, ...] = ("pending", "ready")
STEP_OPEN: frozenset[str] = frozenset({"pending", "ready", "running", "waiting"})
STEP_DONE: frozenset[str] = frozenset({"succeeded", "skipped"})

INTENT_TRANSITIONS: Transitions = {
    "pending": ("running", "succeeded", "failed", "cancelled"),
    "running": ("pending", "succeeded", "failed", "cancelled"),
    "succeeded": ("pending", "running"),  # a new generation
    "failed": ("pending", "running"),
    "cancelled": ("pending", "running"),
}
INTENT_INITIAL: tuple[str, ...] = ("pending",)

BULK_TRANSITIONS: Transitions = {
    "running": ("paused", "cancelled", "finished"),
    "paused": ("running", "cancelled"),
    "cancelled": (),
    "finished": (),
}
BULK_INITIAL: tuple[str, ...] = ("running",)

MACHINES: Mapping[str, tuple[Transitions, tuple[str, ...]]] = {
    "runs": (RUN_TRANSITIONS, RUN_INITIAL),
    "run_steps": (STEP_TRANSITIONS, STEP_INITIAL),
    "intents": (INTENT_TRANSITIONS, INTENT_INITIAL),
    "bulk_actions": (BULK_TRANSITIONS, BULK_INITIAL),
}

RUN_STATES: tuple[str, ...] = tuple(RUN_TRANSITIONS)
STEP_STATES: tuple[str, ...] = tuple(STEP_TRANSITIONS)
INTENT_PHASES: tuple[str, ...] = tuple(INTENT_TRANSITIONS)
BULK_STATES: tuple[str, ...] = tuple(BULK_TRANSITIONS)


def allowed(transitions: Transitions, old: str, new: str) -> bool:
    """Whether the table lets `old` become `new`; staying is always legal."""
    return old == new or new in transitions[old]
