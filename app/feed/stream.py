"""One stream, from its first frame until the client leaves or may no longer read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from app.domain.errors import Unavailable
from app.domain.interest import Interest
from app.feed.replies import Receive, Send, beat, frame, notice, opening
from app.observability.metrics import FEED_EVENTS
from app.services.live_feed import Read, Reading

LEFT: Final = "left"
STALLED: Final = "stalled"
AWAY_S: Final = 1.0

Ends = Callable[[], Awaitable[str | None]]
"""Tells why the caller may read no longer, None while it may."""


@dataclass(frozen=True, slots=True)
class StreamRules:
    """Seconds, but for `retry_ms`: a silent stream shows a sign of life every `beat_s`.

    A client that takes nothing for `patience_s` is cut off; whether a caller may still read is asked every
    `recheck_s`.
    """

    beat_s: float = 15.0
    patience_s: float = 30.0
    recheck_s: float = 5.0
    retry_ms: int = 2000


@dataclass(slots=True)
class Stream:
    """The state of one stream: where it stands, when it last wrote."""

    reading: Reading
    interest: Interest
    position: int
    rules: StreamRules
    clock: Callable[[], float]
    _wrote: float = 0.0
    _checked: float = 0.0

    async def pour(self, receive: Receive, send: Send, ends: Ends) -> str:
        """Write until the stream ends; return why: `left`, `stalled`, or what `ends` said."""
        left = asyncio.ensure_future(_hung_up(receive))
        try:
            return await self._flow(send, ends, left)
        except TimeoutError:
            return STALLED
        except (OSError, RuntimeError):
            return LEFT  # the server's words for a socket that is gone
        finally:
            left.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await left

    async def _flow(self, send: Send, ends: Ends, left: asyncio.Future[None]) -> str:
        await self._write(send, opening(self.rules.retry_ms))
        if self.reading.gap_upto is not None:
            gap = notice("gap", after=str(self.position), upto=str(self.reading.gap_upto))
            await self._write(send, gap)
        self._checked = self.clock()
        while not left.done():
            if (reason := await self._ended(ends)) is not None:
                await self._write(send, notice("end", reason=reason))
                return reason
            await self._step(send, left)
        return LEFT

    async def _step(self, send: Send, left: asyncio.Future[None]) -> None:
        """Write what is new, else wait for news, for the time of a sign of life, for the client to leave."""
        try:
            read = await self.reading.after(self.position)
        except Unavailable:
            await asyncio.wait([left], timeout=AWAY_S)
            read = Read((), self.position)
        chosen = [event for event in read.events if self.interest.wants(event)]
        self.position = read.upto
        if chosen:
            await self._write(send, b"".join(map(frame, chosen)))
            FEED_EVENTS.inc(len(chosen))
        elif self.clock() - self._wrote >= self.rules.beat_s:
            await self._write(send, beat(self.position))
        elif not read.events:
            await self._rest(left)

    async def _rest(self, left: asyncio.Future[None]) -> None:
        due = min(self._wrote + self.rules.beat_s, self._checked + self.rules.recheck_s) - self.clock()
        news = asyncio.ensure_future(self.reading.news(self.position, max(due, 0.01)))
        awaited: list[asyncio.Future[Any]] = [left, news]
        await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()

    async def _ended(self, ends: Ends) -> str | None:
        if self.clock() - self._checked < self.rules.recheck_s:
            return None
        self._checked = self.clock()
        try:
            return await ends()
        except Unavailable:
            return None  # asked again soon; what it may read is away as well

    async def _write(self, send: Send, body: bytes) -> None:
        async with asyncio.timeout(self.rules.patience_s):
            await send({"type": "http.response.body", "body": body, "more_body": True})
        self._wrote = self.clock()


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
