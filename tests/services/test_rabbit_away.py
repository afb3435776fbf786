"""RabbitMQ killed, frozen, out of memory, or tired of waiting for a confirmation: nobody notices for long."""

from __future__ import annotations

import signal
import statistics
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.acceptance.test_redis_stopped import MOST_S, ROUNDS, Client, client, p95  # noqa: F401 - a fixture
from tests.services.rabbitmq import RabbitNode, rabbitmq_node
from tests.support.processes import OsProcess
from tests.support.rig import Rig, held, note, rig_on
from tests.support.waiting import eventually

pytestmark = pytest.mark.services

IMPATIENT = "-rabbit consumer_timeout 3000 -rabbit channel_tick_interval 500"
"""It closes a channel whose messages stand unconfirmed for three seconds, not for half an hour."""


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitNode]:
    with rabbitmq_node(options=IMPATIENT) as node:
        yield node


@pytest.fixture(scope="module")
def rig(node: RabbitNode, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on({**environ, "BROKER_URL": node.url}, tmp_path_factory.mktemp("rig")) as rig:
        rig.beat()
        yield rig


@pytest.fixture(scope="module")
def worker(rig: Rig) -> OsProcess:
    return rig.worker()


@contextmanager
def frozen(node: RabbitNode) -> Iterator[None]:
    node.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        node.signal(signal.SIGCONT)


@contextmanager
def out_of_memory(node: RabbitNode) -> Iterator[None]:
    """Have it block whoever publishes."""
    node.control("set_vm_memory_high_watermark", "0.00001")
    try:
        yield
    finally:
        node.control("set_vm_memory_high_watermark", "0.4")


@contextmanager
def killed(node: RabbitNode) -> Iterator[None]:
    node.kill()
    try:
        yield
    finally:
        node.start()


@pytest.mark.parametrize("call", ["read", "submit"])
def test_a_frozen_rabbitmq_does_not_slow_the_api(client: Client, node: RabbitNode, call: str) -> None:  # noqa: F811 - the fixture
    request = getattr(client, call)
    up, down = [], []
    for _ in range(ROUNDS):
        up.append(p95(request))
        with frozen(node):
            down.append(p95(request))
    rise = statistics.median(down) - statistics.median(up)
    assert rise < MOST_S, f"p95 rose by {rise * 1000:.1f} ms: up {up}, down {down}"


@pytest.mark.parametrize("harm", [frozen, out_of_memory, killed])
def test_what_is_under_way_and_what_is_accepted_meanwhile_ends_right(
    rig: Rig,
    worker: OsProcess,
    client: Client,  # noqa: F811 - the fixture
    node: RabbitNode,
    harm: object,
) -> None:
    name = harm.__name__  # type: ignore[attr-defined]  # a function
    names = ("one", "two", "three")
    heads = [held(key, name, "start") for key in names]
    run = rig.submit([note("start"), *heads, note("join", *names), note("end", "join")])
    eventually(lambda: rig.count(run, "running") == 2, within=30)
    with harm(node):  # type: ignore[operator]  # as above
        later = [client.submit() for _ in range(3)]
        rig.open_gate(name)
        eventually(lambda: rig.count(run, "succeeded") >= 3, within=30, what="what was begun ends")
    for each in (run, *later):
        rig.ends(each, within=90)
    rig.checks(run)
    assert worker.exit_code is None


def test_a_step_longer_than_the_consumer_timeout_runs_on_and_holds_nobody_up(
    rig: Rig, worker: OsProcess
) -> None:
    long = rig.submit([held("a", "long"), note("b", "a")])
    eventually(lambda: rig.ledger.begun(str(long), "a"), within=20)
    before = worker.output.count("timed out")
    eventually(lambda: worker.output.count("timed out") > before, within=30, what="its channel is closed")
    for run in [rig.submit([note("a"), note("b", "a")]) for _ in range(4)]:
        rig.ends(run)
    assert rig.step(long, "a")["state"] == "running"
    rig.open_gate("long")
    rig.ends(long)
    assert [row["tries"] for row in rig.steps(long).values()] == [1, 1]
    rig.checks(long)
    runs = [rig.submit([held("a", "both")]) for _ in range(2)]
    eventually(lambda: all(rig.count(run, "running") for run in runs), within=30, what="both processes work")
    rig.open_gate("both")
    for run in runs:
        rig.ends(run)
