"""Triggers: what they hear, what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.domain.errors import Fault, InvalidInput
from app.domain.webhooks import checked_patterns

MAX_DEPTH: Final = 8
"""How many triggers may lead to one another: the next one is skipped."""
MAX_CHAIN: Final = 100
"""How many intents triggers may declare because of one first event: each of them makes several more."""
SOURCES: Final = ("events", "inbound")
STATES: Final = ("active", "paused")
OUTCOMES: Final = ("fired", "skipped", "failed")
LOOP: Final = "loop"
FILTERED: Final = "filter"
LARGEST_MESSAGE: Final = 256 * 1024
"""Bytes of a message that comes in."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a trigger decides about: an event, or a message; `depth` counts the triggers before.

    `origin` names what the first of them heard; `declared` is what came of that so far, in intents.
    """

    id: str
    type: str
    subject: str
    time: datetime
    data: Any
    depth: int = 0
    origin: str | None = None
    declared: int = 0

    @property
    def root(self) -> str:
        """What all of its chain is counted under."""
        return self.id if self.origin is None else self.origin

    def facts(self) -> dict[str, Any]:
        """Return what expressions see as `event`."""
        return {
            "id": self.id,
            "type": self.type,
            "subject": self.subject,
            "time": self.time.isoformat(),
            "data": self.data,
        }


@dataclass(frozen=True, slots=True)
class Firing:
    """What became of one thing heard by one trigger."""

    trigger_id: UUID
    heard: Heard
    outcome: str
    reason: str | None = None
    intent_id: UUID | None = None
    run_id: UUID | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return it as the database takes it."""
        return {
            "trigger_id": str(self.trigger_id),
            "event_id": self.heard.id,
            "type": self.heard.type,
            "subject": self.heard.subject,
            "outcome": self.outcome,
            "reason": self.reason,
            "depth": self.heard.depth + 1,
            "origin": self.heard.root,
            "intent_id": str(self.intent_id) if self.intent_id else None,
            "run_id": str(self.run_id) if self.run_id else None,
        }


def checked_types(patterns: list[str]) -> list[str]:
    """Return the patterns in their short form; raises InvalidInput for unknown ones and those of triggers.

    A trigger that heard of triggers could be told of what it skipped, for ever.
    """
    checked = checked_patterns(patterns)
    faults = [
        Fault(f"/on/types/{place}", "trigger_events", "triggers do not hear of triggers")
        for place, pattern in enumerate(checked)
        if pattern.startswith("trigger.")
    ]
    if faults:
        raise InvalidInput(tuple(faults))
    return checked
