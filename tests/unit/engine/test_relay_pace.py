"""A relay takes only as much at once as its sink takes within the lease: else two would repeat for ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.domain.events import Event, Json
from app.domain.relay import BatchResult, Lane, Outgoing, Receipt, Shard, subject_lane
from app.services.relay import Relay, RelayRules

LEASE_S = 1.0
MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


class World:
    """Time, an outbox that never ends, a sink that takes a while for each event."""

    name = "slow"
    memory = None

    def __init__(self) -> None:
        self.now = 0.0
        self.each_s = 0.01
        self.held_until = 0.0
        self.positions = dict.fromkeys(range(8), 0)
        self.sizes: list[int] = []

    def clock(self) -> float:
        return self.now

    def number(self, limit: int) -> int:
        return 0

    def claim(self, sink: str, owner: str, lease_s: float) -> None:
        self.held_until = self.now + lease_s

    def held(self, sink: str, owner: str) -> tuple[Shard, ...]:
        return tuple(Shard(number, at, "") for number, at in self.positions.items())

    def read(self, sink: str, shards: Sequence[Shard], limit: int) -> tuple[Outgoing, ...]:
        return tuple(
            Outgoing(self.event(shard.number, shard.position + 1 + place), shard.number, False)
            for shard in shards
            for place in range(limit)
        )

    @staticmethod
    def event(shard: int, position: int) -> Event:
        id_ = UUID(int=shard << 64 | position)
        return Event(id_, UUID(int=1), f"runs/{shard}", position, "t", Json("{}"), None, MOMENT, position)

    def advance(self, sink: str, owner: str, moves: Mapping[int, tuple[int, int]]) -> None:
        """Move what is still held: another relay takes over at once what is not."""
        if self.now < self.held_until:
            self.positions |= {number: target for number, (_, target) in moves.items()}

    def lane(self, event: Event) -> Lane:
        return subject_lane(event)

    def publish(self, epoch: str, batches: Mapping[Lane, Sequence[Outgoing]]) -> Receipt:
        self.sizes.append(sum(map(len, batches.values())))
        self.now += self.sizes[-1] * self.each_s
        return Receipt(False, {lane: BatchResult(len(batch)) for lane, batch in batches.items()})


def relay_over(world: Any) -> Relay:
    rules = RelayRules(lease_s=LEASE_S, batch_least=1)
    return Relay(world, world, "one", rules, world.clock, lambda: MOMENT)


def test_a_sink_slower_than_the_lease_gets_smaller_batches() -> None:
    world = World()
    relay = relay_over(world)
    for _ in range(12):
        relay.turn()
    assert min(world.positions.values()) > 0, "the cursors move"
    assert world.sizes[-1] * world.each_s <= LEASE_S / 3


def test_a_sink_that_is_quick_again_gets_whole_batches() -> None:
    world = World()
    relay = relay_over(world)
    for _ in range(12):
        relay.turn()
    world.each_s = 0.0
    for _ in range(12):
        relay.turn()
    assert world.sizes[-1] == 8 * RelayRules().batch
