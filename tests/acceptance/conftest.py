"""A platform that works, shared by the suites that neither break it nor ask for one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.settings import inherited_environment
from tests.support.brokers import BROKER_VARIABLE
from tests.support.database import cloned_database
from tests.support.rig import Rig, rig_on
from tests.support.servers import Cluster, surroundings, valkey_server

PROCESSES = 4
"""More than there are cores: most steps of these suites only wait."""


@pytest.fixture(scope="session")
def shared_rig(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A beat with one worker, over a database and a Valkey that no module empties."""
    folder = tmp_path_factory.mktemp("shared")
    with (
        cloned_database(cluster) as urls,
        valkey_server() as valkey,
        rig_on(surroundings(folder, urls, valkey.url), folder) as rig,
    ):
        yield working(rig)


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The shared rig; over RabbitMQ, whose queues all modules have in common, one of this module alone."""
    if inherited_environment().get(BROKER_VARIABLE) != "rabbitmq":
        yield request.getfixturevalue("shared_rig")
        return
    with rig_on(request.getfixturevalue("environ"), tmp_path_factory.mktemp("rig")) as rig:
        yield working(rig)


def working(rig: Rig) -> Rig:
    """Start what makes runs go on."""
    rig.beat()
    rig.worker(concurrency=PROCESSES)
    return rig
