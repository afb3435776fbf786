"""The live feed: one look at the outbox wakes all readers of the tenants that have news."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from uuid import UUID

from app.domain.errors import InvalidInput, RateLimited, Unavailable
from app.domain.events import Event
from app.observability.logging import get_log
from app.observability.metrics import FEED_STREAMS

T = TypeVar("T")
log = get_log(__name__)


class Outlook(Protocol):
    """The numbered events; every call blocks, raises Unavailable."""

    def last_position(self) -> int:
        """Return the highest position of all tenants."""

    def news(self, after: int) -> dict[UUID, int]:
        """Return the last position of each tenant with events behind `after`."""

    def page(self, tenant_id: UUID, after: int, limit: int) -> tuple[Event, ...]:
        """Return a tenant's events behind a position."""

    def floor(self, tenant_id: UUID) -> int:
        """Return up to where some of a tenant's events are no longer kept."""


@dataclass(frozen=True, slots=True)
class FeedRules:
    """Bounds of the feed: seconds, except for the numbers of events (`page`, `kept`) and of streams."""

    poll_s: float = 0.2
    away_s: float = 1.0
    page: int = 200
    kept: int = 1000
    streams: int = 2000
    tenant_streams: int = 200
    retry_after_s: int = 5


@dataclass(frozen=True, slots=True)
class Read:
    """Events in order of position, with the position to read on from."""

    events: tuple[Event, ...]
    upto: int


@dataclass(slots=True)
class _Shared:
    """What the readers of one tenant share: the latest events, each loaded once."""

    newest: int
    low: int
    high: int
    events: list[Event] = field(default_factory=list)
    readers: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def tell(self, position: int) -> None:
        self.newest = max(self.newest, position)
        self.changed.set()
        self.changed = asyncio.Event()


class Reading:
    """One reader's view of its tenant's events."""

    def __init__(self, feed: LiveFeed, tenant_id: UUID, shared: _Shared, gap_upto: int | None) -> None:
        self._feed = feed
        self._tenant_id = tenant_id
        self._shared = shared
        self.newest = shared.newest
        """Where the feed stood when the reader came."""
        self.gap_upto = gap_upto
        """Up to where some of what is behind the reader's start is kept no longer, None when all is."""

    async def after(self, position: int) -> Read:
        """Return the next events behind a position, none when there are none yet; raises Unavailable."""
        shared, page = self._shared, self._feed.rules.page
        if position >= shared.newest:
            return Read((), position)
        if position < shared.low:  # older than what is kept: this reader reads alone
            low = shared.low  # it may move on meanwhile
            events = await self._feed.page(self._tenant_id, position)
            last = events[-1].position if events else position
            return Read(events, last if len(events) == page else max(last, low))
        if position >= shared.high:
            await self._load()
        first = bisect_right(shared.events, position, key=lambda event: event.position)
        found = tuple(shared.events[first : first + page])
        return Read(found, found[-1].position if len(found) == page else max(position, shared.high))

    async def news(self, position: int, within_s: float) -> bool:
        """Wait until there is something behind a position; tell whether there is."""
        if self._shared.newest <= position:
            changed = self._shared.changed
            try:
                async with asyncio.timeout(within_s):
                    await changed.wait()
            except TimeoutError:
                return False
        return self._shared.newest > position

    async def _load(self) -> None:
        """Read on for all readers of the tenant; the first who needs it does."""
        shared, rules = self._shared, self._feed.rules
        behind = shared.high
        async with shared.loading:
            if shared.high > behind:
                return
            newest = shared.newest
            events = await self._feed.page(self._tenant_id, behind)
            shared.events += events
            shared.high = events[-1].position if len(events) == rules.page else newest
            if events:
                shared.high = max(shared.high, events[-1].position)
            surplus = len(shared.events) - rules.kept
            if surplus > 0:
                shared.low = shared.events[surplus - 1].position
                del shared.events[:surplus]


class LiveFeed:
    """Watches the outbox for all streams of this process."""

    def __init__(self, outlook: Outlook, rules: FeedRules) -> None:
        self.rules = rules
        self._outlook = outlook
        self._tenants: dict[UUID, _Shared] = {}
        self._seen = 0
        self._streams = 0
        self._opening = asyncio.Lock()
        self._wanted = asyncio.Event()

    async def watch(self) -> None:
        """Look for news until cancelled, as long as anybody reads; a database that is away is waited for."""
        while True:
            await self._wanted.wait()
            try:
                found = await self._call(lambda: self._outlook.news(self._seen))
                pause = self.rules.poll_s
            except Unavailable as error:
                log.warning("feed_waits", part=error.part)
                found, pause = {}, self.rules.away_s
            except Exception:
                # The watcher must outlive whatever one look runs into: nobody else wakes the readers.
                log.exception("feed_failed")
                found, pause = {}, self.rules.away_s
            for tenant_id, position in found.items():
                self._seen = max(self._seen, position)
                if tenant_id in self._tenants:
                    self._tenants[tenant_id].tell(position)
            await asyncio.sleep(pause)

    @asynccontextmanager
    async def reading(self, tenant_id: UUID, start: int | None) -> AsyncIterator[Reading]:
        """Let one more reader in, which goes on behind `start`.

        Raises RateLimited when there are too many, InvalidInput for a start ahead of the feed, Unavailable.
        """
        shared = await self._enter(tenant_id)
        FEED_STREAMS.set(self._streams)
        try:
            if start is not None and start > shared.newest:
                # The watcher looks now and then only: an event just read elsewhere may be ahead of it.
                shared.tell(await self._call(self._outlook.last_position))
                if start > shared.newest:
                    raise InvalidInput.at("/header/Last-Event-ID", "range", "it is ahead of the feed")
            # A reader that begins at 0 wants what is kept, and has missed nothing.
            floor = await self._call(lambda: self._outlook.floor(tenant_id)) if start else 0
            yield Reading(self, tenant_id, shared, floor if start and floor > start else None)
        finally:
            self._leave(tenant_id, shared)
            FEED_STREAMS.set(self._streams)

    async def page(self, tenant_id: UUID, after: int) -> tuple[Event, ...]:
        """Return a page of a tenant's events; raises Unavailable."""
        return await self._call(lambda: self._outlook.page(tenant_id, after, self.rules.page))

    async def _enter(self, tenant_id: UUID) -> _Shared:
        async with self._opening:
            shared = self._tenants.get(tenant_id)
            if self._streams >= self.rules.streams or (
                shared is not None and shared.readers >= self.rules.tenant_streams
            ):
                raise RateLimited("too many streams are open", self.rules.retry_after_s, "too_many_streams")
            if not self._tenants:  # nobody read until now, so nobody watched
                self._seen = await self._call(self._outlook.last_position)
            if shared is None:
                # What comes after this look has a higher position, so the watcher will tell it.
                shared = _Shared(self._seen, self._seen, self._seen)
                self._tenants[tenant_id] = shared
            shared.readers += 1
            self._streams += 1
            self._wanted.set()
            return shared

    def _leave(self, tenant_id: UUID, shared: _Shared) -> None:
        shared.readers -= 1
        self._streams -= 1
        if shared.readers == 0:
            del self._tenants[tenant_id]
        if not self._tenants:
            self._wanted.clear()

    async def _call(self, look: Callable[[], T]) -> T:
        return await asyncio.to_thread(look)
