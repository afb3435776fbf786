"""What a run may be told while it waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.domain.identity import Actor

DECISIONS: Final = ("approve", "reject")
MAX_PAYLOAD_BYTES: Final = 64 * 1024
MAX_KEPT_SIGNALS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wait as decided for one run: over after `seconds`, at `until`, or never by itself when both are None.

    `shown` becomes the step's input: what people see of the wait, and what a signal is matched with.
    """

    shown: Mapping[str, Any]
    seconds: float | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Approvers:
    """Who may decide, how many of them have to approve."""

    roles: frozenset[str]
    count: int

    def admit(self, actor: Actor) -> bool:
        """Tell whether the actor may decide: a user who holds one of the roles."""
        return actor.user_id is not None and bool(self.roles & actor.roles)


@dataclass(frozen=True, slots=True)
class WaitPoint:
    """A signal that a plan waits for; with `approvers` it is a vote."""

    name: str
    approvers: Approvers | None = None


@dataclass(frozen=True, slots=True)
class SignalReceipt:
    """What became of a signal or a vote: `step` took it, or none yet."""

    name: str
    step: str | None
    run_state: str
    decision: str | None = None
