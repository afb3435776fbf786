"""A platform that works, shared by the suites that neither break it nor ask for one of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.brokers import over_rabbitmq
from tests.support.database import cloned_database
from tests.support.rig import Rig, rig_on
from tests.support.servers import Cluster, surroundings, valkey_server

PROCESSES = 4
"""More than there are cores: most steps of these suites only wait."""


@pytest.fixture(scope="session")
def rig(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """A beat with one worker, over a database and a broker that no module empties."""
    folder = tmp_path_factory.mktemp("shared")
    broker = {"BROKER_URL": request.getfixturevalue("rabbitmq").take()} if over_rabbitmq() else {}
    with (
        cloned_database(cluster) as urls,
        valkey_server() as valkey,
        rig_on(surroundings(folder, urls, valkey.url, **broker), folder) as rig,
    ):
        rig.beat()
        rig.worker(concurrency=PROCESSES)
        yield rig
