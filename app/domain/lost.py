"""The decision whether the message of a ready step is lost or merely waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

UNCLAIMED_S = 10.0
"""A worker claims a message within milliseconds of its delivery; after so long its worker is gone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A step that was sent, is ready, and was not claimed for some seconds.

    `overtaken`: a step of the same queue that was sent well after it has been claimed. `loose`: it has no
    message of its own; `tended`: somebody of its lot will take it along; `idle`: so many worker processes of
    its queue execute nothing.
    """

    tenant_id: UUID
    run_id: UUID
    key: str
    epoch: int
    queue: str
    broker_epoch: str | None
    overtaken: bool
    loose: bool = False
    tended: bool = True
    idle: int = 0

    @property
    def message_id(self) -> str:
        """The id of the message that carries the step."""
        return f"{self.run_id}:{self.key}:{self.epoch}"


@dataclass(frozen=True, slots=True)
class QueueView:
    """The messages read from one queue, oldest first in consumption; `whole` when no others can be anywhere.

    `empty`: none waits in the queue itself; workers may have taken some in advance.
    """

    ids: frozenset[str]
    whole: bool
    empty: bool = False


@dataclass(frozen=True, slots=True)
class BrokerView:
    """What the broker holds: its epoch, its queues, and how long delivered messages stand unconfirmed (s)."""

    epoch: str
    queues: Mapping[str, QueueView] = field(default_factory=dict)
    delivered: Mapping[str, float] = field(default_factory=dict)


def missing(candidates: Iterable[Candidate], view: BrokerView) -> list[Candidate]:
    """Return those that are to be sent anew, as far as this look can tell.

    Loose steps are that too while worker processes of their queue have neither a step nor a message to take:
    as many as would find work.
    """
    found: list[Candidate] = []
    spread: Counter[str] = Counter()
    for candidate in candidates:
        queue = view.queues.get(candidate.queue)
        if is_missing(candidate, view):
            found.append(candidate)
        elif (
            candidate.loose and queue is not None and queue.empty and spread[candidate.queue] < candidate.idle
        ):
            spread[candidate.queue] += 1
            found.append(candidate)
    return found


def is_missing(candidate: Candidate, view: BrokerView) -> bool:
    """Tell whether the broker does not hold the candidate's message, as far as this look can tell.

    Age alone never tells: a message that waits in its queue is not missing, however long it waits.
    """
    if candidate.broker_epoch != view.epoch:
        return True
    if candidate.loose:
        return not candidate.tended
    since = view.delivered.get(candidate.message_id)
    if since is not None:
        return since > UNCLAIMED_S
    queue = view.queues.get(candidate.queue)
    if queue is None or candidate.message_id in queue.ids:
        return False
    return queue.whole or candidate.overtaken
