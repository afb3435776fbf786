"""What the relay says to its sinks, or hears from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from app.domain.events import Event

EPOCH_LOST = "epoch lost"


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


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How many events of one tenant's batch were taken, and why the next one was not."""

    sent: int
    fault: str | None = None
    permanent: bool = False


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sink took of each tenant's batch; with `epoch_lost` it forgot earlier events."""

    epoch_lost: bool
    batches: Mapping[UUID, BatchResult]
