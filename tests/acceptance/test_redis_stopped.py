"""Redis hangs: the API answers as before, what it accepts runs when Redis is back."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import pytest
import requests

from app.bootstrap.stores import build_platform
from app.runtime.ports import LOOPBACK, free_port
from app.runtime.valkey import ValkeyServer
from app.services.manage_tenants import create_platform_tenant
from tests.support.brokers import over_rabbitmq
from tests.support.http_api import PASSWORD, PREFIX, ROOT_EMAIL, echo
from tests.support.rig import Rig, rig_on
from tests.support.servers import DatabaseUrls, surroundings, valkey_server
from tests.support.waiting import eventually

ROUNDS = 3
REQUESTS = 60
FIRST_SECOND_S = 1.0
MOST_S = 0.020


@pytest.fixture(scope="module")
def broker() -> Iterator[ValkeyServer]:
    """A Redis that this module alone stops."""
    with valkey_server(persist=True) as server:
        yield server


@pytest.fixture(scope="module")
def rig(
    broker: ValkeyServer,
    database_urls: DatabaseUrls,
    broker_environ: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Rig]:
    """The platform's processes on it; over RabbitMQ it keeps only the counts of chords and rates."""
    folder = tmp_path_factory.mktemp("redis-stopped")
    with rig_on(surroundings(folder, database_urls, broker.url, **broker_environ), folder) as started:
        yield started


class Client:
    """A signed-in client of a served API."""

    def __init__(self, url: str) -> None:
        self.url = url + PREFIX
        self.http = requests.Session()
        self.http.trust_env = False
        body = {"tenant": "platform", "email": ROOT_EMAIL, "password": PASSWORD}
        tokens = self.http.post(f"{self.url}/auth/token", json=body, timeout=10).json()
        self.http.headers["Authorization"] = f"Bearer {tokens['access_token']}"

    def submit(self) -> UUID:
        """Declare an intent; return its run."""
        answer = self.http.post(f"{self.url}/intents", json=echo(), timeout=10)
        assert answer.status_code == 202, answer.text
        return UUID(answer.json()["run"]["id"])

    def read(self) -> None:
        """Read a list."""
        answer = self.http.get(f"{self.url}/runs", params={"limit": 20}, timeout=10)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="module")
def client(rig: Rig) -> Client:
    """A client of the API as it is shipped: granian with eight threads."""
    create_platform_tenant(build_platform(rig.settings), "Platform", ROOT_EMAIL, PASSWORD)
    port = free_port(None)
    command = ("granian", "--interface", "wsgi", "--host", LOOPBACK, "--port", str(port))
    options = ("--workers", "1", "--blocking-threads", "8", "--no-ws", "--log-level", "warning")
    process = rig.start("api", (*command, *options, "app.wsgi:application"))
    url = f"http://{LOOPBACK}:{port}"

    def healthy() -> bool:
        assert process.exit_code is None, process.output[-3000:]
        try:
            return requests.get(f"{url}/healthz", timeout=2).status_code == 200
        except requests.ConnectionError:
            return False  # not up yet: asked again

    eventually(healthy, within=30, what="the API answers")
    return Client(url)


@contextmanager
def stopped(server: ValkeyServer) -> Iterator[None]:
    """Freeze the server: its port is open, nothing ever answers."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def p95(call: Callable[[], object]) -> float:
    """Return the 95th percentile of one call's seconds, measured after the first second."""
    began = time.monotonic()
    while time.monotonic() - began < FIRST_SECOND_S:
        call()
    seconds = []
    for _ in range(REQUESTS):
        before = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - before)
    return statistics.quantiles(seconds, n=20)[-1]


@pytest.mark.parametrize("call", ["read", "submit"])
def test_a_hung_redis_does_not_slow_the_api(client: Client, broker: ValkeyServer, call: str) -> None:
    request = getattr(client, call)
    up, down = [], []
    for _ in range(ROUNDS):
        up.append(p95(request))
        with stopped(broker):
            down.append(p95(request))
    # Rounds alternate, their medians are compared: a neighbour's noise hits both sides.
    rise = statistics.median(down) - statistics.median(up)
    assert rise < MOST_S, f"p95 rose by {rise * 1000:.1f} ms: up {up}, down {down}"


def test_readiness_names_the_part_that_hangs(client: Client, broker: ValkeyServer) -> None:
    url = client.url.removesuffix(PREFIX) + "/readyz"
    with stopped(broker):
        answer = requests.get(url, timeout=10)
    assert answer.status_code == 200
    document = answer.json()
    assert document["status"] == "degraded"
    assert document["parts"]["redis"].startswith("down")
    assert document["parts"]["broker"].startswith("up" if over_rabbitmq() else "down")
    assert document["parts"]["database"] == "up"


@pytest.mark.parametrize("fault", ["hangs", "dies"])
def test_intents_accepted_without_a_broker_run_later(
    rig: Rig, client: Client, broker: ValkeyServer, fault: str
) -> None:
    if fault == "hangs":
        with stopped(broker):
            runs = [client.submit() for _ in range(3)]
    else:
        broker.kill()
        runs = [client.submit() for _ in range(3)]
        broker.start()
    rig.worker(f"worker-{fault}")
    rig.beat(f"beat-{fault}")
    for run in runs:
        rig.ends(run)
