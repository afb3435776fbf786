"""No event is lost, doubled under another id, or overtaken, whatever is killed; 100,000 in the scale form."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from app.messaging.streams import stream_of
from tests.support.eventhub_peer.process import HUB, HubPeer
from tests.support.loss import Verdict, Victim, judge, passed, play, table, written
from tests.support.outbox import A, B, OutboxRig
from tests.support.prepared import Program
from tests.support.processes import OsProcess
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[HubPeer]:
    peer = HubPeer(tmp_path, 2)
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture
def relays(own_servers: PrivateServers, peer: HubPeer, tmp_path: Path) -> Iterator[list[OsProcess]]:
    """Two relays side by side, over both sinks."""
    hub = {"EVENT_HUB_CONNECTION_STRING": peer.url, "EVENT_HUB_NAME": HUB}
    environ = own_servers.surroundings(tmp_path, EVENT_SINKS="redis,eventhubs", **hub)
    started = [
        Program(["quantum", "relay"], log=tmp_path / f"relay-{number}.log", environ=environ).start()
        for number in range(2)
    ]
    yield started
    for process in started:
        process.stop()


def again(process: OsProcess) -> None:
    """Start a killed process anew."""
    process.wait()
    process.start()


def envelope(sequence: int, id_: str) -> dict[str, Any]:
    return {"tenantid": "t", "subject": "s", "sequence": f"{sequence:010d}", "id": id_}


def test_the_judge_sees_what_is_missing_repeated_overtaken_or_strange() -> None:
    wanted = {("t", "s", number): str(number) for number in (1, 2, 3)}
    one, two, three = (envelope(number, str(number)) for number in (1, 2, 3))
    assert judge(wanted, [one, two, one, two, three]) == Verdict(0, 2, 0, 0)
    assert judge(wanted, [one, three, two]) == Verdict(0, 0, 1, 0)
    assert judge(wanted, [one, three]) == Verdict(1, 0, 0, 0)
    assert judge(wanted, [one, two, three, envelope(3, "other")]) == Verdict(0, 1, 0, 1)


@pytest.mark.parametrize(
    ("events", "kills", "most_behind", "patience"),
    [(2_000, 5, 4_000, 90), pytest.param(100_000, 60, 5_000, 900, marks=pytest.mark.scale)],
)
def test_no_event_is_lost_whatever_is_killed(
    own_servers: PrivateServers,
    peer: HubPeer,
    relays: list[OsProcess],
    events: int,
    kills: int,
    most_behind: int,
    patience: float,
) -> None:
    client = redis.Redis.from_url(own_servers.valkey.url, decode_responses=True)
    rig = OutboxRig(own_servers.database, own_servers.valkey.url, client)
    victims = [
        *(Victim("relay", partial(one.send, signal.SIGKILL), partial(again, one)) for one in relays),
        Victim("Redis", own_servers.valkey.kill, own_servers.valkey.start),
        Victim("AMQP peer", peer.kill, peer.start),
        Victim("PostgreSQL", own_servers.postgres.kill, own_servers.postgres.start),
    ]
    seed = int.from_bytes(os.urandom(4), "big")
    strikes = play(rig, victims, events, kills, seed, most_behind)
    wanted = written(rig)
    assert len(wanted) == events

    def verdicts() -> dict[str, Verdict]:
        streams = [one for tenant in (A, B) for one in rig.stream(tenant)]
        return {"redis": judge(wanted, streams), "eventhubs": judge(wanted, peer.arrived())}

    def whole() -> bool:
        return passed(rig) and all(found.missing == 0 for found in verdicts().values())

    eventually(whole, within=patience, every=1.0, what=f"all arrived, seed {seed}")
    found = verdicts()
    print(f"\nseed {seed}\n{table(events, strikes, found)}")
    assert client.xlen(stream_of(A)) > 0
    for name, verdict in found.items():
        assert (verdict.missing, verdict.out_of_order, verdict.strange) == (0, 0, 0), (name, seed)
