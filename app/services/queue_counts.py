"""What each queue has to do: in rows, beside what the broker holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from app.db import queues, running
from app.db.engine import Database
from app.db.queues import QueueCounts
from app.domain.errors import Unavailable
from app.services.ports import BrokerLook

SHOWN_STEPS: Final = 20


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue's counts; `depth` is the number of messages in the broker, None while it is away."""

    counts: QueueCounts
    depth: int | None


def list_queues(platform: Database, broker: BrokerLook) -> list[QueueState]:
    """Return every queue that has work or a live worker, by name."""
    found = queues.counts(platform)
    try:
        depths = broker.depths([each.queue for each in found])
    except Unavailable:
        depths = {}  # the rows tell what is to do also without the broker
    return [QueueState(each, depths.get(each.queue)) for each in found]


def longest_steps(platform: Database) -> list[dict[str, Any]]:
    """Return the twenty steps that have run longest, of all tenants."""
    return running.longest(platform, SHOWN_STEPS)
