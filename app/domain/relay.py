"""What the relay says to its sinks, or hears from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from app.domain.events import PREFIX, Event, dataschema

EPOCH_LOST = "epoch lost"
GAP = PREFIX + "relay.gap"
"""The type of the envelope in a dead event's place."""

Lane = tuple[UUID, str]
"""What a sink keeps in order: a tenant's subject, or with an empty name all of the tenant."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A share of the subjects, held by lease; the sink of `epoch` got it up to `position`."""

    number: int
    position: int
    epoch: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What a sink remembers: `marker:run`, and the last position of each shard that it was told.

    Another marker says that it forgot all; another run, that it was restarted and may have lost a little.
    """

    epoch: str
    positions: Mapping[int, int]

    @property
    def marker(self) -> str:
        """The part of the epoch that survives a restart but not a flush."""
        return self.epoch.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An event on its way to a sink; a dead one was given up, and leaves a marker in its place."""

    event: Event
    shard: int
    dead: bool


class Blame(Enum):
    """Why an event was not taken."""

    SINK = "the sink cannot take any just now: the event waits, as long as that lasts"
    EVENT = "this one is refused: it is given up after some attempts"
    FOREVER = "this one can never be taken"


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many events of one lane's batch were taken, and why the next one was not."""

    sent: int
    fault: str | None = None
    blame: Blame = Blame.EVENT


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sink took of each lane's batch; with `epoch_lost` it forgot earlier events."""

    epoch_lost: bool
    batches: Mapping[Lane, BatchResult]


def subject_lane(event: Event) -> Lane:
    """Return the lane of a sink that keeps order per subject."""
    return event.tenant_id, event.subject


def gap_marker(event: Event) -> dict[str, Any]:
    """Return the envelope in a dead event's place: consumers see that one is missing, and which."""
    return {
        **event.cloud_event(),
        "id": f"{event.id}/gap",
        "type": GAP,
        "dataschema": dataschema(GAP),
        "data": {"missing": {"id": str(event.id), "type": event.type}},
    }


def body_of(outgoing: Outgoing) -> bytes:
    """Return what goes out as JSON: the CloudEvent, or the marker in its place once it was given up."""
    if outgoing.dead:
        return json.dumps(gap_marker(outgoing.event)).encode()
    return outgoing.event.cloud_event_text().encode()


def fitting(bodies: Sequence[bytes], limit: int) -> int:
    """Return how many of the encoded events come before the first that measures more than `limit` bytes."""
    return next((at for at, body in enumerate(bodies) if len(body) > limit), len(bodies))
