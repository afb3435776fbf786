"""What readers of one process share loses nothing, repeats nothing, whoever comes when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import InvalidInput, RateLimited, Unavailable
from app.domain.events import Event
from app.services.live_feed import FeedRules, LiveFeed, Reading

TENANT = UUID(int=1)
OTHER = UUID(int=2)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULES = FeedRules(poll_s=0.001, away_s=0.001, page=3, kept=5, streams=6, tenant_streams=4)


@dataclass
class Outlook:
    """A numbered outbox in memory, which may be away for some looks."""

    events: list[Event] = field(default_factory=list)
    away: int = 0
    pages: int = 0
    pruned: int = 0

    def add(self, tenant_id: UUID = TENANT) -> None:
        position = len(self.events) * 2 + 1  # positions have gaps
        self.events.append(
            Event(
                UUID(int=position),
                tenant_id,
                "runs/1",
                position,
                "io.quantum.run.started",
                {},
                {},
                NOW,
                position,
            )
        )

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise Unavailable("database")

    def last_position(self) -> int:
        self._answer()
        return self.events[-1].position if self.events else 0

    def news(self, after: int) -> dict[UUID, int]:
        self._answer()
        return {event.tenant_id: event.position for event in self.events if event.position > after}

    def page(self, tenant_id: UUID, after: int, limit: int) -> tuple[Event, ...]:
        self._answer()
        self.pages += 1
        found = [event for event in self.events if event.tenant_id == tenant_id and event.position > after]
        return tuple(found[:limit])

    def floor(self, tenant_id: UUID) -> int:
        self._answer()
        return self.pruned


async def read_until(reading: Reading, start: int, end: int) -> list[int]:
    """Read as a stream does, up to the position `end`."""
    position, found = start, []
    while position < end:
        try:
            read = await reading.after(position)
        except Unavailable:
            continue
        found += [event.position for event in read.events]
        position = read.upto
        if not read.events:
            await reading.news(position, 0.01)
    return found


@settings(max_examples=60)
@given(
    st.lists(st.booleans(), max_size=30),
    st.lists(st.lists(st.booleans(), max_size=8), max_size=6),
    st.lists(st.integers(0, 30), min_size=1, max_size=4),
    st.integers(0, 3),
)
def test_every_reader_gets_every_event_of_its_tenant_once_in_order(
    before: list[bool], bursts: list[list[bool]], starts: list[int], away: int
) -> None:
    async def play() -> None:
        outlook = Outlook()
        for mine in before:
            outlook.add(TENANT if mine else OTHER)
        feed = LiveFeed(outlook, RULES)
        watcher = asyncio.create_task(feed.watch())

        async def reader(back: int) -> tuple[int, list[int]]:
            newest = outlook.last_position()
            start = max(0, newest - back)
            async with feed.reading(TENANT, start) as reading:
                ready.release()
                await told.wait()
                return start, await read_until(reading, start, last_of(outlook))

        ready, told = asyncio.Semaphore(0), asyncio.Event()
        tasks = [asyncio.create_task(reader(back)) for back in starts]
        for _ in starts:
            await ready.acquire()
        outlook.away = away
        for burst in bursts:
            for mine in burst:
                outlook.add(TENANT if mine else OTHER)
            await asyncio.sleep(0)
        told.set()
        for start, found in await asyncio.gather(*tasks):
            wanted = [each.position for each in outlook.events if each.tenant_id == TENANT]
            assert found == [position for position in wanted if position > start]
        watcher.cancel()

    asyncio.run(play())


def last_of(outlook: Outlook) -> int:
    return max((event.position for event in outlook.events if event.tenant_id == TENANT), default=0)


def test_readers_of_a_tenant_load_each_page_once() -> None:
    async def play() -> int:
        outlook = Outlook()
        feed = LiveFeed(outlook, RULES)
        watcher = asyncio.create_task(feed.watch())
        async with (
            feed.reading(TENANT, None) as one,
            feed.reading(TENANT, None) as two,
            feed.reading(TENANT, None) as three,
        ):
            for _ in range(3):
                outlook.add()
            found = await asyncio.gather(*(read_until(each, 0, 5) for each in (one, two, three)))
            assert found == [[1, 3, 5]] * 3
        watcher.cancel()
        return outlook.pages

    assert asyncio.run(play()) <= 3


def test_streams_are_bounded_for_the_process_and_for_each_tenant() -> None:
    async def play() -> None:
        feed = LiveFeed(Outlook(), RULES)
        opened = [feed.reading(TENANT, None) for _ in range(RULES.tenant_streams)]
        for each in opened:
            await each.__aenter__()
        with pytest.raises(RateLimited) as refused:
            await feed.reading(TENANT, None).__aenter__()
        assert refused.value.code == "too_many_streams"
        more = [feed.reading(OTHER, None) for _ in range(RULES.streams - RULES.tenant_streams)]
        for each in more:
            await each.__aenter__()
        with pytest.raises(RateLimited):
            await feed.reading(OTHER, None).__aenter__()
        await opened[0].__aexit__(None, None, None)
        async with feed.reading(TENANT, None):
            pass

    asyncio.run(play())


def test_a_start_ahead_of_the_feed_is_refused_and_leaves_no_trace() -> None:
    async def play() -> None:
        outlook = Outlook()
        outlook.add()
        feed = LiveFeed(outlook, RULES)
        for _ in range(RULES.streams + 1):
            with pytest.raises(InvalidInput):
                await feed.reading(TENANT, 99).__aenter__()
        async with feed.reading(TENANT, 1) as reading:
            assert (await reading.after(1)).events == ()

    asyncio.run(play())
