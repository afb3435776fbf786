"""The engine over RabbitMQ: canvases run, a broker that forgot everything is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kombu import Connection

from app.messaging.amqp_probe import MARKER
from tests.services.rabbitmq import rabbitmq_server
from tests.support.rig import Rig, note, rig_on

pytestmark = pytest.mark.services

FORK_JOIN = [note("first"), note("left", "first"), note("right", "first"), note("join", "left", "right")]


@pytest.fixture(scope="module")
def broker_url() -> Iterator[str]:
    with rabbitmq_server() as url:
        yield url


@pytest.fixture
def rig(environ: dict[str, str], broker_url: str, tmp_path: Path) -> Iterator[Rig]:
    with rig_on({**environ, "BROKER_URL": broker_url}, tmp_path) as rig:
        yield rig


def test_a_chain_with_a_chord_runs_to_its_end(rig: Rig) -> None:
    rig.worker()
    run = rig.submit(FORK_JOIN)
    rig.ends(run)
    rig.checks(run)


def test_a_purged_queue_loses_no_work(rig: Rig, broker_url: str) -> None:
    run = rig.submit(FORK_JOIN)
    with Connection(broker_url) as connection:
        assert connection.default_channel.queue_purge("default") > 0
    rig.worker()
    rig.beat()
    rig.ends(run)
    rig.checks(run)


def test_a_broker_that_lost_its_queues_loses_no_work(rig: Rig, broker_url: str) -> None:
    run = rig.submit(FORK_JOIN)
    with Connection(broker_url) as connection:
        assert connection.default_channel.queue_purge("default") > 0
        connection.default_channel.queue_delete("default")
        connection.default_channel.queue_delete(MARKER)
    rig.worker()
    rig.beat()
    rig.ends(run)
    rig.checks(run)
