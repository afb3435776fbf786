"""pytest-celery's setup of broker, backend, worker nodes, over local processes instead of Docker containers.

Only its class hooks are used: no Docker engine is at hand. What runs is the platform's own worker and Valkey.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import pytest
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)
from pytest_celery.fixtures.setup import (  # noqa: F401 - fixtures: the plugin itself would ask for Docker
    celery_setup,
    celery_setup_app,
    celery_setup_cls,
    celery_setup_config,
    celery_setup_name,
)

from app.runtime.valkey import ValkeyServer
from tests.support.processes import OsProcess
from tests.support.rig import Rig, held, note, rig_on
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually

pytestmark = pytest.mark.redis_broker("its node of the broker is a Valkey process")


@dataclass
class Node:
    """A process with the face of a container."""

    name: str
    url: str
    running: Callable[[], bool]
    start: Callable[[], object]
    end: Callable[[], object]
    told: Callable[[], str]

    def __post_init__(self) -> None:
        self.id = uuid4().hex

    @property
    def celeryconfig(self) -> dict[str, Any]:
        return {"url": self.url, "host_url": self.url}

    @property
    def status(self) -> str:
        return "running" if self.running() else "exited"

    def ready(self) -> bool:
        return self.running()

    def logs(self) -> str:
        return self.told()

    def kill(self, signal: str | int = "SIGKILL") -> None:
        self.end()

    def restart(self, timeout: int = 0) -> None:
        if self.running():
            self.end()
        self.start()

    def reload(self) -> None:
        """Nothing is cached."""

    def teardown(self) -> None:
        """The fixtures of the servers end them."""


class PlatformWorker(CeleryTestWorker):
    """The shipped worker."""

    @property
    def version(self) -> str:
        return version("celery")

    @property
    def worker_name(self) -> str:
        return str(self.container.name)

    @property
    def worker_queue(self) -> str:
        return "default"

    def hostname(self) -> str:
        return f"{self.worker_name}@local"


def valkey_node(server: ValkeyServer) -> Node:
    return Node("valkey", server.url, lambda: server.running, server.start, server.kill, lambda: "")


def worker_node(process: OsProcess) -> Node:
    return Node(
        "worker", "", lambda: process.exit_code is None, process.start, process.kill, lambda: process.output
    )


@pytest.fixture(scope="module")
def rig(own_servers: PrivateServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("vendors")
    with rig_on(own_servers.surroundings(folder, LOG_LEVEL="INFO"), folder) as rig:
        rig.beat()
        yield rig


@pytest.fixture(scope="module")
def worker(rig: Rig) -> OsProcess:
    return rig.worker()


@pytest.fixture
def celery_broker_cluster(own_servers: PrivateServers) -> CeleryBrokerCluster:
    return CeleryBrokerCluster(CeleryTestBroker(valkey_node(own_servers.valkey)))


@pytest.fixture
def celery_backend_cluster(own_servers: PrivateServers) -> CeleryBackendCluster:
    return CeleryBackendCluster(CeleryTestBackend(valkey_node(own_servers.valkey)))


@pytest.fixture
def celery_worker_cluster(worker: OsProcess) -> CeleryWorkerCluster:
    return CeleryWorkerCluster(PlatformWorker(worker_node(worker), None))


@pytest.fixture
def celery_worker_cluster_config(
    celery_broker_cluster: CeleryBrokerCluster, celery_backend_cluster: CeleryBackendCluster
) -> dict[str, Any]:
    return {
        "celery_broker_cluster_config": celery_broker_cluster.config(),
        "celery_backend_cluster_config": celery_backend_cluster.config(),
    }


def test_the_nodes_are_ready_and_answer_control(celery_setup: CeleryTestSetup) -> None:  # noqa: F811 - the fixture
    assert celery_setup.ready(control=True, docker=True)
    assert len(celery_setup) == 3
    assert celery_setup.worker is not None
    celery_setup.worker.assert_log_exists("ready.", timeout=10)


def test_a_worker_node_killed_in_a_chord_comes_back_and_the_run_ends(
    rig: Rig,
    celery_setup: CeleryTestSetup,  # noqa: F811 - the fixture
) -> None:
    assert celery_setup.worker is not None
    run = rig.submit([held("left", "vendor"), note("right"), note("join", "left", "right")])
    eventually(lambda: rig.ledger.begun(str(run), "left"), within=20)
    celery_setup.worker.kill()
    rig.open_gate("vendor")
    celery_setup.worker.restart()
    rig.ends(run, within=60)
    rig.checks(run, kills=2)  # the other header may have been under way in the node too


def test_queued_steps_survive_a_broker_node_killed_and_restarted(
    rig: Rig,
    celery_setup: CeleryTestSetup,  # noqa: F811 - the fixture
) -> None:
    assert celery_setup.broker is not None
    assert celery_setup.worker is not None
    celery_setup.worker.kill()
    runs = [rig.submit([note("a"), note("b", "a")]) for _ in range(5)]
    celery_setup.broker.kill()
    celery_setup.broker.restart()
    celery_setup.worker.restart()
    for run in runs:
        rig.ends(run, within=60)
        rig.checks(run)
