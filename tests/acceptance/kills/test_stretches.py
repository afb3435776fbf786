"""Stretches on real workers: one message, one process, each boundary where they must end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery.events.state import State

from tests.support.rig import Rig, held, kill, note, rig_on
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def quick(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig with a beat and a worker of two processes, which kills a step a second after its soft limit."""
    folder = tmp_path_factory.mktemp("quick")
    with rig_on({**environ, "STEP_KILL_AFTER_S": "1", "WORKER_STRETCHES": "1"}, folder) as rig:
        rig.beat()
        rig.worker()
        yield rig


def processes(rig: Rig, run: Any) -> list[int]:
    return [row["lease_pid"] for row in rig.steps(run).values()]


@pytest.fixture
def watched(quick: Rig) -> Iterator[State]:
    """What Flower sees: Celery's own picture of the events."""
    state = State()
    app = quick.celery
    with app.connection_for_read() as connection, ExitStack() as stack:
        receiver = app.events.Receiver(connection, handlers={"*": state.event})
        ready = threading.Event()
        receiver.on_consume_ready = lambda *_args, **_kwargs: ready.set()
        thread = threading.Thread(target=receiver.capture, kwargs={"wakeup": False}, daemon=True)
        thread.start()
        stack.callback(thread.join, 5)
        stack.callback(setattr, receiver, "should_stop", True)
        assert ready.wait(10)
        yield state


def test_a_chain_runs_in_one_process_and_flower_shows_each_step(quick: Rig, watched: State) -> None:
    chain = [note("a"), note("b", "a"), note("c", "b"), note("d", "c")]
    run = quick.submit(chain)
    quick.ends(run)
    assert len(set(processes(quick, run))) == 1
    quick.checks(run)
    ids = [f"{run}:{key}:1" for key in "abcd"]
    eventually(
        lambda: [getattr(watched.tasks.get(one), "state", None) for one in ids] == ["SUCCESS"] * 4,
        within=5,
        what="Flower is told of four ends",
    )
    tasks = [watched.tasks[one] for one in ids]
    assert {task.name for task in tasks} == {"testkit.note"}
    assert all(task.received and task.started and task.worker.hostname for task in tasks)


def test_a_process_killed_in_a_stretch_costs_the_step_that_it_held(quick: Rig) -> None:
    run = quick.submit([note("a"), held("victim", "mid", "a"), note("c", "victim")])
    eventually(lambda: quick.ledger.begun(str(run), "victim"), within=20)
    assert len({row["lease_pid"] for key, row in quick.steps(run).items() if key != "c"}) == 1
    kill(quick.step(run, "victim")["lease_pid"])
    quick.open_gate("mid")
    quick.ends(run, within=20)
    assert [row["kills"] for row in quick.steps(run).values()] == [0, 1, 0]
    quick.checks(run, kills=1)


def test_a_step_of_a_stretch_is_stopped_at_its_own_limit(quick: Rig) -> None:
    deaf = {"id": "deaf", "uses": "testkit.sleep_through", "needs": ["a"]}
    run = quick.submit([note("a"), deaf, note("after", "deaf")])
    quick.ends(run, "failed", within=20)
    steps = quick.steps(run)
    assert [row["state"] for row in steps.values()] == ["succeeded", "failed", "cancelled"]
    assert (steps["deaf"]["error"]["code"], steps["deaf"]["tries"]) == ("timeout", 1)
    assert steps["a"]["lease_pid"] == steps["deaf"]["lease_pid"]


def test_a_pause_ends_a_stretch_at_the_boundary(quick: Rig) -> None:
    run = quick.submit([held("a", "pause"), note("b", "a"), note("c", "b")])
    eventually(lambda: quick.ledger.begun(str(run), "a"), within=20)
    tenant, version = quick.run(run)["tenant_id"], quick.run(run)["version"]
    quick.rows("SELECT pause_run(%s, %s, %s::jsonb, %s, 'look')", tenant, run, "{}", version)
    quick.open_gate("pause")
    eventually(lambda: quick.state(run) == "paused", within=10)
    assert not quick.ledger.begun(str(run), "b")
    quick.rows("SELECT resume_run(%s, %s, %s::jsonb, %s)", tenant, run, "{}", quick.run(run)["version"])
    quick.ends(run)
    quick.checks(run)


def test_a_retry_in_a_stretch_waits_its_time_and_goes_on(quick: Rig) -> None:
    retry = {"attempts": 3, "backoff": 0.2, "jitter": 0}
    late = {
        "id": "late",
        "uses": "testkit.fail_first",
        "needs": ["a"],
        "with": {"attempts": 1},
        "retry": retry,
    }
    run = quick.submit([note("a"), {**late, "retry": retry}, note("c", "late")])
    quick.ends(run)
    assert [len(quick.ledger.begun(str(run), key)) for key in ("a", "late", "c")] == [1, 2, 1]
    quick.checks(run)


def test_the_branches_of_a_chord_run_as_stretches_up_to_its_count(quick: Rig) -> None:
    steps = [
        note("start"),
        note("a1", "start"),
        note("a2", "a1"),
        note("a3", "a2"),
        note("b1", "start"),
        note("b2", "b1"),
        note("join", "a3", "b2"),
        note("end", "join"),
    ]
    run = quick.submit(steps)
    quick.ends(run)
    rows = quick.steps(run)
    assert rows["a1"]["lease_pid"] == rows["a2"]["lease_pid"]
    assert {row["dispatch_epoch"] for row in rows.values()} == {1}, "the chord brought the join, nobody else"
    quick.quiet(run)
    quick.checks(run)


@pytest.mark.redis_broker("RabbitMQ delivers again when a connection ends, not by the clock")
def test_a_step_longer_than_the_redelivery_runs_on_and_its_duplicate_loses(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with rig_on({**environ, "REDELIVERY_AFTER_S": "1", "LOG_LEVEL": "INFO"}, tmp_path) as rig:
        worker = rig.worker("patient", queues="patient")
        on = {"queue": "patient"}
        run = rig.submit([note("a", **on), held("long", "again", "a", **on), note("c", "long", **on)])
        # The message of the first step comes again: it finds that one done, and loses the claim of the next.
        worker.wait_for("step_not_done")
        rig.open_gate("again")
        rig.ends(run)
        assert [row["tries"] for row in rig.steps(run).values()] == [1, 1, 1]
        rig.checks(run)


def test_a_warm_shutdown_ends_a_stretch_and_what_is_left_runs_elsewhere(quick: Rig) -> None:
    worker = quick.worker("leaving", concurrency=1, queues="leaving")
    on = {"queue": "leaving"}
    run = quick.submit([held("a", "leave", **on), note("b", "a", **on), note("c", "b", **on)])
    eventually(lambda: quick.ledger.begun(str(run), "a"), within=20)
    worker.send(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    quick.open_gate("leave")
    worker.wait(within=20)
    assert [row["state"] for row in quick.steps(run).values()] == ["succeeded", "ready", "pending"]
    assert [message["args"][2] for message in quick.messages("leaving")] == ["b"]
    quick.worker("staying", concurrency=1, queues="leaving")
    quick.ends(run)
    assert {row["dispatch_epoch"] for row in quick.steps(run).values()} == {1}
    quick.checks(run)
