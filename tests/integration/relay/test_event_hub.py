"""The contract of sinks on Event Hubs, the SDK unmodified before a local AMQP 1.0 peer, with its faults."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
import redis
from azure.eventhub import EventHubConsumerClient

from app.domain.errors import Unavailable
from app.messaging.event_hub import EventHub, partition_for
from app.runtime.valkey import ValkeyServer
from tests.support.eventhub_peer.process import HUB, HubPeer
from tests.support.outbox import A, B, OutboxRig
from tests.support.servers import DatabaseUrls
from tests.support.sinks.contract import SinkContract, by_subject, written
from tests.support.sinks.kits import HubKit


@pytest.fixture
def outbox(fresh_database_urls: DatabaseUrls, valkey: ValkeyServer) -> Iterator[OutboxRig]:
    with contextlib.closing(redis.Redis.from_url(valkey.url, decode_responses=True)) as client:
        yield OutboxRig(fresh_database_urls, valkey.url, client)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubPeer]:
    peer = HubPeer(tmp_path_factory.mktemp("hub"), 2)
    peer.start()
    yield peer
    peer.kill()


@pytest.fixture(scope="module")
def sinks() -> Iterator[dict[int, EventHub]]:
    made: dict[int, EventHub] = {}
    yield made
    for sink in made.values():
        sink.close()


@pytest.fixture
def kit(peer: HubPeer, sinks: dict[int, EventHub]) -> HubKit:
    return HubKit(peer, sinks)


class TestEventHub(SinkContract):
    """The contract."""


def settled(relay: Any, turns: int = 40) -> int:
    """Take turns through whatever the service does; return how many failed."""
    failed = 0
    for _ in range(turns):
        try:
            if relay.turn() == (0, False):
                return failed
        except Unavailable:
            failed += 1
    raise AssertionError("the relay does not come to rest")


FAULTS = (
    "reject 6 com.microsoft:server-busy",
    "reject 6 amqp:internal-error",
    "reject 6 com.microsoft:entity-disabled",
    "stall 0.3",
    "detach 1",
    "cut 1",
    "noack 1",
)


def test_faults_of_the_service_cost_nothing_but_repeats(
    outbox: OutboxRig, kit: HubKit, peer: HubPeer
) -> None:
    relay = outbox.relay(sink=kit.sink(), attempts=2)
    for place, fault in enumerate(FAULTS):
        for number in range(8):
            outbox.emit(A, f"runs/{number}", place * 3 + 1, place * 3 + 3)
        peer.tell(fault)
        settled(relay)
        assert by_subject(kit.arrived()) == written(outbox), fault
    assert outbox.system("SELECT count(*) FROM dead_events") == [(0,)], "an event is not to blame for that"


def test_the_test_itself_notices_an_event_that_was_accepted_but_not_kept(
    outbox: OutboxRig, kit: HubKit, peer: HubPeer
) -> None:
    relay = outbox.relay(sink=kit.sink())
    outbox.emit(A, "runs/1", 1, 3)
    peer.tell("swallow 1")
    settled(relay)
    assert by_subject(kit.arrived()) != written(outbox)


def test_only_the_event_that_the_service_refuses_is_given_up(
    outbox: OutboxRig, kit: HubKit, peer: HubPeer
) -> None:
    outbox.emit(A, "runs/1", 1, 2)
    outbox.emit(A, "runs/1", 3, 3, {"text": "poisoned"})
    outbox.emit(A, "runs/1", 4, 4)
    outbox.emit(A, "runs/2", 1, 4)
    peer.tell("matching poisoned")
    settled(outbox.relay(sink=kit.sink(), attempts=2))
    found = kit.arrived()
    assert by_subject(found) == written(outbox)
    assert [(one["subject"], one["sequence"]) for one in found if one["type"].endswith(".gap")] == [
        ("runs/1", "0000000003")
    ]


def test_batches_are_full_although_subjects_differ(outbox: OutboxRig, kit: HubKit) -> None:
    sink: Any = kit.sink()
    for number in range(100):
        outbox.emit(A, f"runs/{number}", 1, 2)
    relay = outbox.relay(sink=sink)
    sizes = []
    client = sink._connected().client
    send = client.send_batch
    client.send_batch = lambda batch, **more: (sizes.append(len(batch)), send(batch, **more))
    settled(relay)
    client.send_batch = send
    assert sum(sizes) == 200
    assert len(sizes) == 2, "one for each partition"


def test_a_subject_keeps_its_partition() -> None:
    partitions = ("0", "1", "2", "3")
    tenant = UUID(int=7)
    assert "".join(partition_for((tenant, f"runs/{n}"), partitions) for n in range(6)) == "202031"
    found = {partition_for((tenant, f"runs/{n}"), partitions) for n in range(50)}
    assert found == set(partitions)


def test_the_sdks_own_consumer_reads_what_was_sent(outbox: OutboxRig, kit: HubKit, peer: HubPeer) -> None:
    for number in range(20):
        outbox.emit(B, f"runs/{number}", 1, 3)
    settled(outbox.relay(sink=kit.sink()))
    client = EventHubConsumerClient.from_connection_string(peer.url, "$default", eventhub_name=HUB)
    wanted = {one["id"] for one in kit.arrived()}
    found: dict[str, list[int]] = defaultdict(list)
    count = 0

    def keep(context: Any, event: Any) -> None:
        nonlocal count
        body = event.body_as_json()
        if body["id"] not in wanted:
            return
        assert (event.message_id, event.content_type) == (body["id"], "application/cloudevents+json")
        assert partition_for((B, body["subject"]), ("0", "1")) == context.partition_id
        found[body["subject"]].append(int(body["sequence"]))
        count += 1
        if count == 60:
            threading.Thread(target=client.close).start()

    client.receive(keep, starting_position="-1")
    assert found == {f"runs/{number}": [1, 2, 3] for number in range(20)}
