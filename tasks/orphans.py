"""Claims that nobody executes, executions that no claim stands behind any more."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from app.domain.leases import HeldClaim
from app.services.patience import PATIENCE_S
from tasks.deadlines import RunningStep

ORPHANED_AFTER_S: Final = PATIENCE_S + 15.0
"""A process that cannot reach PostgreSQL holds on to its step for `PATIENCE_S`; later it has given up."""


class Orphans:
    """Remembers since when each claim is held by nobody's work; those held so for long are to be released.

    A process may win a claim and never hear of it: PostgreSQL committed, the answer was lost, and the process
    gave up asking. It lives, so its lease would hold for ever.
    """

    def __init__(self, after_s: float = ORPHANED_AFTER_S) -> None:
        self._after_s = after_s
        self._since: dict[HeldClaim, float] = {}

    def look(
        self, now: float, claims: Collection[HeldClaim], running: Collection[RunningStep]
    ) -> Sequence[HeldClaim]:
        """Return the claims to release at `now`, in seconds of any clock that never steps."""
        worked = {(step.child, step.message.run_id, step.message.key, step.tries) for step in running}
        idle = [
            claim for claim in claims if (claim.child, claim.run_id, claim.key, claim.tries) not in worked
        ]
        self._since = {claim: self._since.get(claim, now) for claim in idle}
        return [claim for claim, since in self._since.items() if now - since >= self._after_s]


class Forsaken:
    """Remembers what pool processes execute without a claim; what is seen so twice is to end.

    Its claim was taken back: by a quarantine, by recovery that thought the worker dead, by a restore of the
    database. What it finishes is refused, while somebody else executes the step, or already has.
    """

    def __init__(self) -> None:
        self._seen: frozenset[RunningStep] = frozenset()

    def look(self, claims: Collection[HeldClaim], running: Collection[RunningStep]) -> Sequence[RunningStep]:
        """Return what is to end; `claims` were read before `running`, so one look may miss a new claim."""
        held = {(claim.child, claim.run_id, claim.key, claim.tries) for claim in claims}
        lost = [
            step
            for step in running
            if (step.child, step.message.run_id, step.message.key, step.tries) not in held
        ]
        before, self._seen = self._seen, frozenset(lost)
        return [step for step in lost if step in before]
