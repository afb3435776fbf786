"""How a stream ends, what it says while nothing happens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from app.domain.interest import Interest
from app.feed.replies import Message
from app.feed.stream import LEFT, STALLED, Stream, StreamRules
from app.services.live_feed import LiveFeed
from tests.unit.feed.test_live_feed import RULES, TENANT, Outlook

QUICK = StreamRules(beat_s=0.02, patience_s=0.1, recheck_s=0.01)


async def stays() -> str | None:
    return None


async def for_ever() -> Message:
    await asyncio.Event().wait()
    return {}


def poured(
    rules: StreamRules,
    send: Callable[[Message], Awaitable[None]],
    *,
    ends: Callable[[], Awaitable[str | None]] = stays,
    receive: Callable[[], Awaitable[Message]] = for_ever,
    interest: Interest | None = None,
    start: int = 0,
    pruned: int = 0,
) -> str:
    """Run one stream over three events until it ends; return why."""

    async def play() -> str:
        outlook = Outlook(pruned=pruned)
        for _ in range(3):
            outlook.add()
        feed = LiveFeed(outlook, RULES)
        async with feed.reading(TENANT, start) as reading, asyncio.timeout(20):
            stream = Stream(reading, interest or Interest(), start, rules, time.monotonic)
            return await stream.pour(receive, send, ends)

    return asyncio.run(play())


def test_a_caller_who_may_no_longer_read_is_told_why() -> None:
    written: list[bytes] = []

    async def send(message: Message) -> None:
        written.append(message["body"])

    async def ends() -> str | None:
        return "expired" if len(written) > 1 else None

    assert poured(QUICK, send, ends=ends) == "expired"
    assert written[1].count(b"data: ") == 3
    assert written[-1] == b'event: end\ndata: {"reason": "expired"}\n\n'


def test_a_client_that_takes_nothing_is_cut_off() -> None:
    async def send(message: Message) -> None:
        await asyncio.Event().wait()

    assert poured(QUICK, send) == STALLED


def test_a_client_that_leaves_ends_the_stream() -> None:
    taken: list[Any] = []

    async def send(message: Message) -> None:
        taken.append(message)

    async def receive() -> Message:
        while len(taken) < 2:
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    assert poured(replace(QUICK, beat_s=60, recheck_s=60), send, receive=receive) == LEFT


def test_a_sign_of_life_moves_the_reader_past_what_its_filter_left_out() -> None:
    written: list[bytes] = []

    async def send(message: Message) -> None:
        written.append(message["body"])

    async def ends() -> str | None:
        return "expired" if any(b"alive" in body for body in written) else None

    assert poured(QUICK, send, ends=ends, interest=Interest(subject="runs/2")) == "expired"
    assert b": alive\nid: 5\n\n" in written
    assert not any(b'data: {"spec' in body for body in written)


@pytest.mark.parametrize(
    ("start", "gap"), [(0, None), (1, {"after": "1", "upto": "3"}), (3, None), (4, None)]
)
def test_a_reader_whose_next_events_are_pruned_is_told_of_the_gap(
    start: int, gap: dict[str, str] | None
) -> None:
    written: list[bytes] = []

    async def send(message: Message) -> None:
        written.append(message["body"])

    async def ends() -> str | None:
        return "expired" if len(written) > 2 else None

    assert poured(QUICK, send, ends=ends, start=start, pruned=3) == "expired"
    told = [body for body in written if body.startswith(b"event: gap\n")]
    assert [json.loads(body.partition(b"data: ")[2]) for body in told] == ([gap] if gap else [])
    assert not told or written[1] == told[0], "before any event"
