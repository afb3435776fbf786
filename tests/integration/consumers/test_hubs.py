"""Consumers of Event Hubs: the SDK unmodified, the AMQP peer, checkpoints in the blob peer."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from azure.eventhub import EventData, EventHubProducerClient

from app.consumers.hubs import HubConsumer
from app.consumers.opening import hub_consumer
from app.consumers.silence import ReceiverSilent
from tests.support.blob_peer import Peer, blob_peer
from tests.support.consuming import example, handling_of
from tests.support.eventhub_peer.process import HUB, HubPeer
from tests.support.hub_rules import QUICK
from tests.support.processes import OsProcess
from tests.support.waiting import eventually, patience

EVENTS = 30


@pytest.fixture(scope="module")
def blobs() -> Iterator[Peer]:
    with blob_peer() as peer:
        yield peer


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[HubPeer]:
    peer = HubPeer(tmp_path, 2)
    peer.start()
    yield peer
    peer.kill()


def tell(peer: HubPeer, *names: str) -> None:
    """Send events as the relay does, by turns to both partitions."""
    client = EventHubProducerClient.from_connection_string(peer.url, eventhub_name=HUB)
    with client:
        for partition in ("0", "1"):
            some = [
                EventData(
                    json.dumps(
                        {"source": "s", "id": name, "tenantid": "t", "type": "io.quantum.run.succeeded"}
                    )
                )
                for name in names[int(partition) :: 2]
            ]
            if some:
                client.send_batch(some, partition_id=partition)


class Consuming:
    """A consumer in a thread, with what it handled."""

    def __init__(self, peer: HubPeer, blobs: Peer, database: str, container: str) -> None:
        self.ids: list[str] = []
        self._stop = threading.Event()
        handling = handling_of(database, container, self._handle, self._stop)
        self.consumer: HubConsumer = hub_consumer(
            peer.url, HUB, "$default", blobs.connection_string, handling, container=container, rules=QUICK
        )
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _handle(self, cursor: Any, event: Mapping[str, Any]) -> None:
        self.ids.append(event["id"])

    def _run(self) -> None:
        try:
            self.consumer.run()
        except ReceiverSilent as silent:
            self.fault = silent

    def __enter__(self) -> Consuming:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    @property
    def counts(self) -> Mapping[str, int]:
        return self.consumer.handling.counts


Consumers = Callable[[], Consuming]


@pytest.fixture
def consumers(peer: HubPeer, blobs: Peer, database: str) -> Consumers:
    """Makes consumers that share a group with its checkpoints."""
    container = f"c{uuid4().hex}"
    return lambda: Consuming(peer, blobs, database, container)


def test_killed_between_handling_and_checkpoint_each_event_is_handled_once(
    peer: HubPeer, blobs: Peer, database: str, tmp_path: Path
) -> None:
    tell(peer, *(f"e{number}" for number in range(EVENTS)))
    addresses = (database, "eventhubs", peer.url, HUB, blobs.connection_string)
    doomed = OsProcess(
        [sys.executable, "-m", "tests.support.consuming", *addresses], log=tmp_path / "doomed.log"
    ).start()
    assert doomed.wait() == -signal.SIGKILL, doomed.output

    def runs() -> int:
        with contextlib.closing(psycopg2.connect(database)) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT coalesce(sum(runs), 0) FROM ends WHERE tenant = 't'")
            return int((cursor.fetchone() or (0,))[0])

    before = runs()
    assert before > 0, "some were handled"
    survivor = example(*addresses)
    thread = threading.Thread(target=survivor.run)
    thread.start()
    try:
        eventually(lambda: runs() == EVENTS, within=30, what="all are handled")
        eventually(lambda: sum(survivor.handling.counts.values()) == EVENTS, within=10, what="all were seen")
    finally:
        survivor.handling.stop.set()
        thread.join(30)
    assert survivor.handling.counts == {"repeated": before, "handled": EVENTS - before}
    assert runs() == EVENTS


def test_a_checkpoint_is_gone_on_from_and_one_of_an_older_hub_is_left_out(
    peer: HubPeer, consumers: Consumers
) -> None:
    tell(peer, "e0", "e1", "e2", "e3")
    with consumers() as first:
        eventually(lambda: len(first.ids) == 4, within=20, what="all handled")
    tell(peer, "e4", "e5")
    with consumers() as second:
        eventually(lambda: sorted(second.ids) == ["e4", "e5"], within=20, what="what is new is handled")
    assert second.counts["repeated"] == 0, "begun behind the checkpoints"
    peer.kill()
    (peer._folder / f"{HUB}.log").unlink()  # the hub is deleted, then made anew
    peer.start()
    tell(peer, "e6", "e7")
    with consumers() as third:
        eventually(lambda: sorted(third.ids) == ["e6", "e7"], within=20, what="read from the beginning")


def test_a_receiver_that_goes_silent_is_begun_anew_then_given_up(peer: HubPeer, consumers: Consumers) -> None:
    tell(peer, "e0", "e1")
    peer.tell("mute 1")
    muted = consumers()
    muted.consumer.rules = replace(QUICK, silence_s=0.5 * patience(), silences=100)
    with muted:
        eventually(lambda: muted.consumer._silences >= 1, within=20, what="its silence is noticed")
        peer.tell("mute 0")
        eventually(lambda: len(muted.ids) == 2, within=20, what="begun anew it hears")
        muted.consumer.rules = replace(muted.consumer.rules, silences=1)
        peer.tell("mute 1")
        tell(peer, "e2")
        eventually(lambda: muted.fault is not None, within=20, what="it is given up")
    assert isinstance(muted.fault, ReceiverSilent)
