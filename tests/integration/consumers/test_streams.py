"""Consumers of Redis Streams: killed, flushed, joined, left; each event is handled once, in order."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
import redis

from app.consumers.streams import StreamConsumer
from app.messaging.streams import connect_streams, stream_of
from app.runtime.valkey import ValkeyServer
from tests.support.consuming import EXAMPLE, SHORT, example, handling_of
from tests.support.processes import OsProcess
from tests.support.waiting import eventually

A, B = UUID(int=10), UUID(int=11)
EVENTS = 30


@pytest.fixture
def server(valkey: ValkeyServer) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis.from_url(valkey.url, decode_responses=True)) as client:
        client.flushall()
        yield client


class Seen:
    """A handler that keeps what it was given; fails for some events."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.broken: set[str] = set()

    def __call__(self, cursor: Any, event: Mapping[str, Any]) -> None:
        if event["id"] in self.broken:
            raise ValueError(event["id"])
        self.ids.append(event["id"])


class Members:
    """Members of one group over one inbox."""

    def __init__(self, url: str, database: str) -> None:
        self._url, self._database, self._group = url, database, f"g-{uuid4().hex[:8]}"
        self.seen = Seen()

    def join(self, name: str, **chosen: Any) -> StreamConsumer:
        handling = handling_of(self._database, self._group, self.seen)
        client = connect_streams(self._url)
        return StreamConsumer(client, self._group, name, handling, rules=SHORT, **chosen)


@pytest.fixture
def members(valkey: ValkeyServer, database: str) -> Members:
    return Members(valkey.url, database)


def tell(server: redis.Redis, tenant: UUID, *names: str) -> None:
    """Append events as the relay does."""
    for name in names:
        event = {"source": f"/tenants/{tenant}", "id": name, "tenantid": str(tenant)}
        event["type"] = "io.quantum.run.succeeded"
        server.xadd(stream_of(tenant), {"id": name, "event": json.dumps(event)})


def ends(database: str) -> dict[str, int]:
    with contextlib.closing(psycopg2.connect(database)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT tenant, runs FROM ends")
        return dict(cursor.fetchall())


def test_killed_between_handling_and_acknowledging_each_event_is_handled_once(
    server: redis.Redis, valkey: ValkeyServer, database: str, tmp_path: Path
) -> None:
    tell(server, A, *(f"a{number}" for number in range(EVENTS)))
    doomed = OsProcess(
        [sys.executable, "-m", "tests.support.consuming", database, "redis", valkey.url],
        log=tmp_path / "doomed.log",
    ).start()
    assert doomed.wait() == -signal.SIGKILL, doomed.output
    assert ends(database)[str(A)] == EVENTS, "all handled"
    assert server.xpending(stream_of(A), "ends")["pending"] == EVENTS, "nothing acknowledged"
    tell(server, A, "late")
    survivor = example(database, "redis", valkey.url)
    eventually(
        lambda: survivor.turn() == 0 and survivor.handling.counts["handled"] == 1,
        within=20,
        what="the dead member's streams are taken over",
    )
    assert ends(database)[str(A)] == EVENTS + 1
    assert survivor.handling.counts == {"repeated": EVENTS, "handled": 1}
    assert server.xpending(stream_of(A), "ends")["pending"] == 0


def test_the_example_runs_as_it_stands(
    server: redis.Redis, valkey: ValkeyServer, database: str, tmp_path: Path
) -> None:
    tell(server, B, "b1", "b2")
    command = [sys.executable, str(EXAMPLE), database, "redis", valkey.url]
    with OsProcess(
        command, log=tmp_path / "example.log", environ={"PYTHONPATH": str(EXAMPLE.parents[2])}
    ) as it:
        eventually(
            lambda: "ends" in tables(database) and ends(database).get(str(B)) == 2,
            within=20,
            what="both are counted",
        )
        it.send(signal.SIGTERM)
        assert it.wait() == 0, it.output


def tables(database: str) -> set[str]:
    with contextlib.closing(psycopg2.connect(database)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in cursor.fetchall()}


def test_a_stream_has_one_reader_and_goes_to_another_when_that_leaves(
    server: redis.Redis, members: Members
) -> None:
    tell(server, A, "a1")
    tell(server, B, "b1")
    one, two = members.join("one"), members.join("two")
    one.turn()
    assert sorted(members.seen.ids) == ["a1", "b1"], "alone it has all"
    two.turn()
    eventually(lambda: (one.turn(), two.turn()) and len(two._held) == 1, within=10, what="two has its share")
    assert sorted(one._held + two._held) == sorted(map(stream_of, (A, B)))
    tell(server, A, "a2")
    tell(server, B, "b2")
    eventually(lambda: (one.turn(), two.turn()) and len(members.seen.ids) == 4, within=10, what="all handled")
    one.handling.stop.set()
    one.run()
    eventually(lambda: (two.turn(), len(two._held))[1] == 2, within=10, what="two has all")
    tell(server, A, "a3")
    tell(server, B, "b3")
    eventually(lambda: (two.turn(), len(members.seen.ids))[1] == 6, within=10, what="all handled")
    assert two.handling.counts["repeated"] == 0


def test_what_a_dead_member_had_read_comes_before_what_is_new(server: redis.Redis, members: Members) -> None:
    tell(server, A, "a1", "a2")
    dead = members.join("dead")
    dead._keep()
    dead._prepared(stream_of(A))
    dead.client.xreadgroup(dead.group, "dead", {stream_of(A): ">"}, count=2)
    tell(server, A, "a3")
    heir = members.join("heir")
    eventually(lambda: (heir.turn(), len(members.seen.ids))[1] == 3, within=10, what="all handled")
    assert members.seen.ids == ["a1", "a2", "a3"]


def test_an_event_that_cannot_be_handled_is_parked_then_others_go_on(
    server: redis.Redis, members: Members
) -> None:
    members.seen.broken = {"a2"}
    tell(server, A, "a1", "a2", "a3")
    server.xadd(stream_of(A), {"id": "x", "event": "no envelope"})
    member = members.join("one")
    eventually(lambda: (member.turn(), len(members.seen.ids))[1] == 3, within=10, what="all handled")
    assert members.seen.ids[:2] == ["a1", "a3"]
    assert members.seen.ids[2].startswith(stream_of(A)), "what is no envelope has the name of its place"
    ((fault, event),) = member.handling.inbox.parked(10)
    assert (fault, event["id"]) == ("ValueError: a2", "a2")


def test_after_a_flush_the_group_is_made_anew_and_repeats_are_dropped(
    server: redis.Redis, members: Members
) -> None:
    tell(server, A, "a1", "a2")
    member = members.join("one", tenants=(A,))
    eventually(lambda: (member.turn(), len(members.seen.ids))[1] == 2, within=10, what="both handled")
    server.flushall()
    tell(server, A, "a1", "a2", "a3")
    eventually(lambda: (member.turn(), len(members.seen.ids))[1] == 3, within=10, what="the third handled")
    assert member.handling.counts == {"handled": 3, "repeated": 2}


def test_a_new_group_may_begin_with_what_comes_next(server: redis.Redis, members: Members) -> None:
    tell(server, A, "a1")
    member = members.join("one", from_now=True)
    member.turn()
    tell(server, A, "a2")
    eventually(lambda: (member.turn(), members.seen.ids)[1] == ["a2"], within=10, what="the second handled")


def test_members_that_are_gone_for_long_are_removed_from_the_group(
    server: redis.Redis, members: Members
) -> None:
    tell(server, A, "a1")
    one = members.join("one")
    one.turn()
    one.handling.stop.set()
    one.run()
    two = members.join("two")
    two.rules = type(two.rules)(lease_s=0.6, block_s=0.05, forget_member_s=0.0)
    eventually(lambda: (two.turn(), two._ready)[1], within=10, what="the stream is taken over")
    tell(server, A, "a2")
    eventually(lambda: (two.turn(), members.seen.ids)[1] == ["a1", "a2"], within=10, what="handled")
    names = [info["name"] for info in server.xinfo_consumers(stream_of(A), two.group)]
    assert names == ["two"]
