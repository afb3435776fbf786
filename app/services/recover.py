"""The recovery of steps whose worker died, whose wait is over, whose message is lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from app.db import recovery
from app.domain.errors import Unavailable
from app.domain.lost import Candidate, missing
from app.services.dispatch import Dispatch, advance_each
from app.services.family import follow_parents
from app.services.ports import BrokerLook

log = logging.getLogger(__name__)

RUNS_AT_ONCE = 500
CANDIDATES = 2000
BEAT_S = 2.0
MISSED_BEATS = 3


def recover(deps: Dispatch) -> None:
    """Release claims of dead workers, make due waits ready, bring sub-workflows in line with parents."""
    advance_each(deps.engine, recovery.release_dead(deps.system, BEAT_S, MISSED_BEATS), "dead_worker")
    advance_each(deps.engine, recovery.due_waits(deps.system, RUNS_AT_ONCE), "due")
    follow_parents(deps)


class LostMessages:
    """Finds lost messages by two looks: what both miss is sent again under a new dispatch epoch."""

    def __init__(self, deps: Dispatch, broker: BrokerLook) -> None:
        self._deps = deps
        self._broker = broker
        self._missed: frozenset[str] = frozenset()

    def look(self) -> int:
        """Compare the ready steps with what the broker holds; return how many steps were lost."""
        candidates = recovery.candidates_lost(self._deps.system, CANDIDATES)
        missing = self._missing(candidates) if candidates else []
        lost = [candidate for candidate in missing if candidate.message_id in self._missed]
        self._missed = frozenset(candidate.message_id for candidate in missing)
        if not lost:
            return 0
        log.warning("messages_lost", extra={"steps": len(lost)})
        advance_each(self._deps.engine, recovery.mark_lost(self._deps.system, lost), "lost_message")
        return len(lost)

    def _missing(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        queues = sorted({candidate.queue for candidate in candidates})
        try:
            view = self._broker.look(queues)
        except Unavailable:
            return []  # a broker that is away has lost nothing yet
        return missing(candidates, view)
