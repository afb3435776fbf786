"""The relay: the outbox delivered to a sink, at least once, in order per subject."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol
from uuid import UUID

from app.domain.breakers import BreakerRules
from app.domain.errors import Unavailable
from app.domain.events import Event
from app.domain.relay import BatchResult, Blame, Lane, Memory, Outgoing, Receipt, Shard
from app.observability.breakers import Guard
from app.observability.context import event_context, log_context
from app.observability.logging import get_log
from app.observability.metrics import EVENTS_DEAD, EVENTS_PUBLISHED, RELAY_FAILURES, RELAY_LAG
from app.services.lookahead import Lookahead
from app.services.traces import tell_published

log = get_log(__name__)
_LOGGER = logging.getLogger(__name__)

RULES = BreakerRules(failures=5, most_s=30.0)
"""It tells how a sink stands: the pauses between tries are the relay's own, events wait in the outbox."""
NOTHING = Memory("", {})
"""The memory of a sink that forgets nothing."""


class Outbox(Protocol):
    """The committed events and the sink's cursors; every call is one transaction of the system role."""

    def number(self, limit: int) -> int:
        """Give the next positions to committed events without one; return how many."""

    def claim(self, sink: str, owner: str, lease_s: float) -> None:
        """Renew the owner's leases, take free shards up to its fair share, give up what exceeds it."""

    def held(self, sink: str, owner: str) -> tuple[Shard, ...]:
        """Return the shards whose lease the owner has now."""

    def read(self, sink: str, shards: Sequence[Shard], limit: int) -> tuple[Outgoing, ...]:
        """Return the next events of the shards in the order of positions, at most `limit` of each shard."""

    def advance(self, sink: str, owner: str, moves: Mapping[int, tuple[int, int]]) -> None:
        """Move cursors from one position to another where the owner still holds the shard."""

    def rewind(self, sink: str, owner: str, shard: Shard, epoch: str, to: int | None, back_s: float) -> Shard:
        """Note the epoch, set the cursor back to `to`, or before the events of the last `back_s` seconds."""

    def bury(self, sink: str, event: Event, attempts: int, reason: str) -> None:
        """Record that the sink will not get the event; harmless when repeated."""

    def release(self, sink: str, owner: str) -> None:
        """Give up all shards of the owner."""


class SinkMemory(Protocol):
    """The notes of a sink that may forget what it was given."""

    def look(self) -> Memory:
        """Return what the sink remembers; raises Unavailable."""

    def confirm(self, epoch: str, positions: Mapping[int, int]) -> None:
        """Let the sink remember how far each shard is delivered; raises Unavailable."""


class Sink(Protocol):
    """Where events go."""

    @property
    def name(self) -> str:
        """The name of its cursors, leases, metrics."""

    @property
    def memory(self) -> SinkMemory | None:
        """Its notes; None when it keeps what it took."""

    def lane(self, event: Event) -> Lane:
        """Return what the event must stay in order within: an event refused there holds those behind it."""

    def publish(self, epoch: str, batches: Mapping[Lane, Sequence[Outgoing]]) -> Receipt:
        """Deliver each lane's events in order up to its first fault, known to be kept when this returns.

        An event is never sent while an earlier one of its lane is neither taken nor given up. `epoch` is what
        `memory` told, or empty. Raises Unavailable when no event could be taken, whichever.
        """

    def bury(self, event: Event, reason: str, attempts: int) -> None:
        """Deliver the event to the sink's place for dead letters, if it has one; raises Unavailable."""

    def close(self) -> None:
        """End the connections; the sink opens new ones when it is used again."""


@dataclass(frozen=True, slots=True)
class RelayRules:
    """How the relay works, in seconds but for `batch` events of a shard and `attempts`.

    It looks again after `poll_least_s` while events come, so that they gather: a turn costs the same for one
    event as for a hundred, and a relay that never rests takes the workers' time. A full batch has no pause.

    A batch shrinks while the sink takes longer for one than a third of `lease_s`: else the lease would end on
    the way, another relay deliver the same, and neither cursor ever move.

    After a flush it repeats the events of `memory_s`, what the sink would have kept. An event is given up
    after `attempts` refusals.
    """

    batch: int = 500
    batch_least: int = 10
    lease_s: float = 6.0
    poll_least_s: float = 0.1
    poll_most_s: float = 0.5
    backoff_least_s: float = 0.1
    backoff_most_s: float = 10.0
    attempts: int = 5
    memory_s: float = 24 * 3600


@dataclass(slots=True)
class Relay:
    """What delivers to one sink; any number may run side by side.

    `owner` names it, `clock` counts seconds, `now` tells the time for the metric of the lag.
    """

    outbox: Outbox
    sink: Sink
    owner: str
    rules: RelayRules
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _guard: Guard = field(init=False)
    _claim_at: float = float("-inf")
    _refusals: dict[UUID, int] = field(default_factory=dict)
    _broken: set[Lane] = field(default_factory=set)
    _ahead: dict[Shard, set[UUID]] = field(default_factory=dict)
    """Events taken beyond the cursor of a shard as it stands, held by an earlier one of another lane."""
    _next: Lookahead = field(init=False)

    _batch: int = field(init=False)
    """How many events of a shard are read at once: as many as the sink takes in good time."""

    def __post_init__(self) -> None:
        self._batch = self.rules.batch
        self._next = Lookahead(self._numbered)
        self._guard = Guard(f"sink_{self.sink.name}", RULES, self.clock)

    def run(self, stopped: Callable[[float], bool], idle: Callable[[float], bool] | None = None) -> None:
        """Deliver until `stopped(seconds)`, which waits at most so long, returns true.

        `idle` waits in its stead while there is nothing to do: it may return sooner when there is.
        """
        with log_context(sink=self.sink.name):
            self._run(stopped, idle or stopped)

    def _run(self, stopped: Callable[[float], bool], idle: Callable[[float], bool]) -> None:
        pause = 0.0
        failures = 0
        wait = stopped
        while not wait(pause):
            try:
                moved, refused = self.turn()
            except Unavailable as error:
                moved, refused = 0, True
                RELAY_FAILURES.labels(self.sink.name).inc()
                if error.part == self.sink.name:
                    self._guard.failed()
                log.warning("relay_waits", part=error.part, failures=failures + 1)
            except Exception:
                moved, refused = 0, True
                RELAY_FAILURES.labels(self.sink.name).inc()
                log.exception("relay_broke")
            failures = failures + 1 if refused else 0
            wait = stopped if refused or moved else idle
            if failures:
                pause = min(
                    self.rules.backoff_least_s * 2 ** min(failures - 1, 30), self.rules.backoff_most_s
                )
            elif moved:
                pause = 0.0 if moved >= self._batch else self.rules.poll_least_s
            else:
                pause = min(max(pause * 2, self.rules.poll_least_s), self.rules.poll_most_s)
        self._leave()

    def turn(self) -> tuple[int, bool]:
        """Deliver one batch of each held shard; return how many events went, and whether any was refused.

        Raises Unavailable when the database or the sink is away.
        """
        if not self._next.begun:
            self._number()
        if self.clock() >= self._claim_at:
            self.outbox.claim(self.sink.name, self.owner, self.rules.lease_s)
            self._claim_at = self.clock() + self.rules.lease_s / 4
        held = self.outbox.held(self.sink.name, self.owner)
        if not held:
            return 0, False
        memory = self.sink.memory.look() if self.sink.memory else NOTHING
        shards = {shard.number: self._remembered(shard, memory) for shard in held}
        events = self._read(tuple(shards.values()))
        self._show_lag(events)
        batches = self._batches(shards, events)
        if not batches:
            return 0, False
        self._look_ahead(shards, events)
        began = self.clock()
        try:
            receipt = self.sink.publish(memory.epoch, batches)
        finally:
            self._pace(self.clock() - began)
        self._guard.succeeded()
        if receipt.epoch_lost:
            return 0, False  # the next turn sees the new epoch, and starts over from what was lost
        still_open = self._settle(batches, receipt.batches)
        self._advance(memory.epoch, shards, events, still_open)
        return sum(result.sent for result in receipt.batches.values()), bool(still_open)

    def _pace(self, took_s: float) -> None:
        if took_s > self.rules.lease_s / 3:
            self._batch = max(self._batch // 2, self.rules.batch_least)
        elif took_s < self.rules.lease_s / 12:
            self._batch = min(self._batch * 2, self.rules.batch)

    def _number(self) -> None:
        self.outbox.number(self.rules.batch * 4)

    def _numbered(self, shards: tuple[Shard, ...]) -> tuple[Outgoing, ...]:
        self._number()
        return self.outbox.read(self.sink.name, shards, self._batch)

    def _read(self, shards: tuple[Shard, ...]) -> tuple[Outgoing, ...]:
        if self._next.begun:
            events = self._next.take(shards)
            if events:
                return events
            self._number()
        return self.outbox.read(self.sink.name, shards, self._batch)

    def _batches(
        self, shards: Mapping[int, Shard], events: Sequence[Outgoing]
    ) -> Mapping[Lane, Sequence[Outgoing]]:
        """Return the events to be published now, those of each lane in order."""
        gone = {id_ for shard in shards.values() for id_ in self._ahead.get(shard, ())}
        wanted = [one for one in events if one.event.id not in gone] if gone else events
        batches: dict[Lane, list[Outgoing]] = defaultdict(list)
        for one in wanted:
            batches[self.sink.lane(one.event)].append(one)
        return batches

    def _look_ahead(self, shards: Mapping[int, Shard], events: Sequence[Outgoing]) -> None:
        """Where more waits than one batch, have it read meanwhile: as if all of this one will be taken."""
        if len(events) < self._batch:
            return
        last = {one.shard: one.event.position for one in events}
        self._next.begin(
            tuple(
                replace(shard, position=last.get(number, shard.position)) for number, shard in shards.items()
            )
        )

    def _remembered(self, shard: Shard, memory: Memory) -> Shard:
        """Return the shard as the sink remembers it, set back when the sink forgot."""
        if memory is NOTHING or shard.epoch == memory.epoch:
            return shard
        restarted = shard.epoch.startswith(memory.marker + ":")
        to = memory.positions.get(shard.number) if restarted else None
        moved = self.outbox.rewind(self.sink.name, self.owner, shard, memory.epoch, to, self.rules.memory_s)
        if shard.epoch:
            log.warning("relay_repeats", shard=shard.number, position=moved.position, was=shard.position)
        return moved

    def _settle(
        self, batches: Mapping[Lane, Sequence[Outgoing]], results: Mapping[Lane, BatchResult]
    ) -> set[UUID]:
        """Count what was sent, bury what is given up; return the ids of the events still to be delivered."""
        still_open: set[UUID] = set()
        published: list[Event] = []
        for lane, batch in batches.items():
            result = results[lane]
            published += [one.event for one in batch[: result.sent]]
            if result.fault is None:
                self._broken.discard(lane)
                continue
            left = batch[result.sent :]
            given_up = self._given_up(lane, left, result)
            # A buried event stays open until its gap marker went out; a marker that is given up does not.
            still_open.update(one.event.id for one in left if not (one.dead and one in given_up))
        EVENTS_PUBLISHED.labels(self.sink.name).inc(len(published))
        tell_published(self.sink.name, published)
        _log_published(published)
        for event in published if self._refusals else ():
            self._refusals.pop(event.id, None)
        return still_open

    def _given_up(self, lane: Lane, left: Sequence[Outgoing], result: BatchResult) -> Sequence[Outgoing]:
        """Bury the refused event once it was tried often enough; return those that are given up now.

        A buried event is tried once more, as its gap marker; a refused marker shows that the whole lane is
        broken: then all that waits for it is buried at once, not each after its own attempts.
        """
        RELAY_FAILURES.labels(self.sink.name).inc()
        if result.blame is Blame.SINK:
            return ()
        head = left[0]
        attempts = self._refusals.get(head.event.id, 0) + 1
        self._refusals[head.event.id] = attempts
        if lane in self._broken:
            given_up = left
        elif head.dead or result.blame is Blame.FOREVER or attempts >= self.rules.attempts:
            given_up = left[:1]
            if head.dead:
                self._broken.add(lane)
        else:
            return ()
        for one in given_up:
            self._refusals.pop(one.event.id, None)
            if not one.dead:
                self._bury(one.event, attempts, result.fault or "refused")
        return given_up

    def _bury(self, event: Event, attempts: int, reason: str) -> None:
        self.sink.bury(event, reason, attempts)
        self.outbox.bury(self.sink.name, event, attempts, reason)
        EVENTS_DEAD.labels(self.sink.name).inc()
        with event_context(event):
            log.error("event_dead", type=event.type, attempts=attempts, reason=reason)

    def _advance(
        self, epoch: str, shards: Mapping[int, Shard], events: Sequence[Outgoing], still_open: set[UUID]
    ) -> None:
        """Move each shard's cursor up to its first event that is still to be delivered."""
        mine: dict[int, list[Event]] = {number: [] for number in shards}
        for one in events:
            mine[one.shard].append(one.event)
        moves: dict[int, tuple[int, int]] = {}
        self._ahead = {}
        for number, found in mine.items():
            first_open = len(found)
            if still_open:
                first_open = next(
                    (at for at, event in enumerate(found) if event.id in still_open), first_open
                )
            shard = shards[number]
            if first_open:
                shard = replace(shard, position=found[first_open - 1].position)
                moves[number] = (shards[number].position, shard.position)
            self._ahead[shard] = {event.id for event in found[first_open:] if event.id not in still_open}
        if moves:
            self.outbox.advance(self.sink.name, self.owner, moves)
            if self.sink.memory:
                self.sink.memory.confirm(epoch, {number: move[1] for number, move in moves.items()})

    def _show_lag(self, events: Sequence[Outgoing]) -> None:
        oldest = min((one.event.time for one in events), default=None)
        lag = (self.now() - oldest).total_seconds() if oldest else 0.0
        RELAY_LAG.labels(self.sink.name).set(max(lag, 0.0))

    def _leave(self) -> None:
        self._next.close()
        self.sink.close()
        try:
            self.outbox.release(self.sink.name, self.owner)
        except Unavailable:
            # The leases run out by themselves, only a little later.
            log.warning("relay_left_leases", owner=self.owner)


def _log_published(events: Sequence[Event]) -> None:
    """Log events of sampled runs, others only where somebody asked for details."""
    details = _LOGGER.isEnabledFor(logging.DEBUG)
    for event in events:
        if details or event.trace is not None:
            with event_context(event):
                if event.trace is None:
                    log.debug("event_published", type=event.type, position=event.position)
                else:
                    log.info("event_published", type=event.type, position=event.position)
