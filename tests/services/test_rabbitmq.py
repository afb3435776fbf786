"""The engine over RabbitMQ: quorum queues, every way in which it can lose a message."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection

from app.messaging.amqp_probe import MARKER, AmqpBrokerView, amqp_reader
from app.messaging.broker_epoch import BrokerLink
from app.messaging.queues import DEAD, DELIVERIES_AT_MOST
from tests.services.rabbitmq import RabbitHosts
from tests.support.brokers import purge
from tests.support.rig import Rig, note, rig_on
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

PATIENCE_S = 5.0
FORK_JOIN = [note("first"), note("left", "first"), note("right", "first"), note("join", "left", "right")]


@pytest.fixture
def broker(rabbitmq: RabbitHosts) -> str:
    """An empty broker of this test alone."""
    return rabbitmq.take()


@pytest.fixture
def rig(environ: dict[str, str], broker: str, tmp_path: Path) -> Iterator[Rig]:
    with rig_on({**environ, "BROKER_URL": broker}, tmp_path) as rig:
        yield rig


def perform(rig: Rig, run: UUID, *, beat: bool = True) -> None:
    rig.worker()
    if beat:
        rig.beat()
    rig.ends(run, within=60)
    rig.checks(run)


def view(url: str, *busy: str) -> Any:
    link = BrokerLink(amqp_reader(url, PATIENCE_S), time.monotonic)
    return AmqpBrokerView(url, link, PATIENCE_S, lambda: busy).look(["default"]).queues["default"]


def test_a_chain_with_a_chord_runs_to_its_end(rig: Rig) -> None:
    perform(rig, rig.submit(FORK_JOIN), beat=False)


def test_a_purged_queue_loses_no_work_although_others_came_after(rig: Rig, broker: str) -> None:
    lost = [rig.submit(FORK_JOIN) for _ in range(3)]
    purge(broker, ("default",))
    later = rig.submit(FORK_JOIN)
    assert {message["id"].partition(":")[0] for message in rig.messages()} == {str(later)}
    perform(rig, later)
    for run in lost:
        rig.ends(run, within=60)
        rig.checks(run)
        assert rig.step(run, "first")["dispatch_epoch"] == 2


def test_a_broker_that_lost_its_queues_loses_no_work(rig: Rig, broker: str) -> None:
    run = rig.submit(FORK_JOIN)
    with Connection(broker) as connection:
        for queue in ("default", MARKER):
            connection.default_channel.queue_delete(queue)
    perform(rig, run)


def test_a_message_over_the_delivery_limit_is_kept_for_people_and_sent_again(rig: Rig, broker: str) -> None:
    run = rig.submit([note("only")])
    with Connection(broker) as connection, connection.channel() as channel:
        for _ in range(DELIVERIES_AT_MOST + 1):
            message = eventually(lambda: channel.basic_get("default"), within=10, every=0.01)
            channel.basic_reject(message.delivery_tag, requeue=True)
    dead = eventually(lambda: rig.messages(DEAD), within=10)
    assert [message["id"] for message in dead] == [f"{run}:only:1"]
    perform(rig, run)
    assert rig.step(run, "only")["dispatch_epoch"] == 2


def test_readers_that_begin_the_epoch_at_once_agree(rig: Rig, broker: str) -> None:
    before = amqp_reader(broker, PATIENCE_S)()
    with Connection(broker) as connection:
        connection.default_channel.queue_delete(MARKER)
    with ThreadPoolExecutor(8) as pool:
        links = [BrokerLink(amqp_reader(broker, PATIENCE_S), time.monotonic) for _ in range(8)]
        # RabbitMQ 3.10 refuses some of many that declare one stream at once: to them it is away for a moment.
        found = set(pool.map(lambda link: eventually(link.refresh), links))
    assert len(found) == 1
    assert before not in found


def test_an_empty_queue_tells_nothing_while_a_worker_may_hold_its_messages(rig: Rig, broker: str) -> None:
    run = rig.submit([note("only")])
    assert not view(broker).whole, "one waits"
    purge(broker, ("default",))
    assert view(broker).whole
    assert not view(broker, "default").whole, "a worker may have taken it in advance"
    with Connection(broker) as connection:
        connection.default_channel.queue_delete("default")
    assert view(broker, "default").whole, "nobody holds messages of a queue that is gone"
    assert rig.state(run) == "queued"
