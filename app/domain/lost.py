"""The decision whether the message of a ready step is lost or merely waits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

UNCLAIMED_S = 10.0
"""A worker claims a message within milliseconds of its delivery; after so long its worker is gone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A step that was sent, is ready, and was not claimed for some seconds.

    `overtaken`: a step of the same queue that was sent well after it has been claimed.
    """

    tenant_id: UUID
    run_id: UUID
    key: str
    epoch: int
    queue: str
    broker_epoch: str | None
    overtaken: bool

    @property
    def message_id(self) -> str:
        """The id of the message that carries the step."""
        return f"{self.run_id}:{self.key}:{self.epoch}"


@dataclass(frozen=True, slots=True)
class QueueView:
    """The messages read from one queue, oldest first in consumption; `whole` when these are all."""

    ids: frozenset[str]
    whole: bool


@dataclass(frozen=True, slots=True)
class BrokerView:
    """What the broker holds: its epoch, its queues, and how long delivered messages stand unconfirmed (s)."""

    epoch: str
    queues: Mapping[str, QueueView] = field(default_factory=dict)
    delivered: Mapping[str, float] = field(default_factory=dict)


def is_missing(candidate: Candidate, view: BrokerView) -> bool:
    """Tell whether the broker does not hold the candidate's message, as far as this look can tell.

    Age alone never tells: a message that waits in its queue is not missing, however long it waits.
    """
    if candidate.broker_epoch != view.epoch:
        return True
    since = view.delivered.get(candidate.message_id)
    if since is not None:
        return since > UNCLAIMED_S
    queue = view.queues.get(candidate.queue)
    if queue is None or candidate.message_id in queue.ids:
        return False
    return queue.whole or candidate.overtaken
