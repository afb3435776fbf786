"""Lots on real workers: few messages, no process idle, each step for itself whatever its siblings do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.support.rig import Rig, held, kill, note, rig_on
from tests.support.waiting import eventually

WIDTH = 10


@pytest.fixture(scope="module")
def quick(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig with a beat and a worker of two processes."""
    with rig_on({**environ, "WORKER_STRETCHES": "1"}, tmp_path_factory.mktemp("quick")) as rig:
        rig.beat()
        rig.worker()
        yield rig


def fan(*special: dict[str, Any], width: int = WIDTH, **on: Any) -> list[dict[str, Any]]:
    """A start, a wide header whose first steps are these, a join."""
    header = [*special, *(note(f"h{n}", "start", **on) for n in range(len(special), width))]
    return [note("start", **on), *header, note("join", *(str(step["id"]) for step in header), **on)]


def loose(rig: Rig, run: UUID) -> set[str]:
    return {key for key, row in rig.steps(run).items() if row["loose"]}


def begun(rig: Rig, run: UUID) -> set[str]:
    return {key for key in rig.steps(run) if rig.ledger.begun(str(run), key)}


def under_way(rig: Rig, run: UUID, key: str) -> int:
    """Wait until the step runs; return its process."""
    eventually(lambda: rig.ledger.begun(str(run), key), within=20, what=f"{key} begins")
    return int(rig.step(run, key)["lease_pid"])


def test_a_wide_fork_costs_as_many_messages_as_there_are_processes(quick: Rig) -> None:
    run = quick.submit(fan(width=130, **{"with": {"seconds": 0.01}}))
    quick.ends(run)
    assert 120 <= len(loose(quick, run)) < 128, "after fifty steps a message hands on to a further one"
    rows = quick.steps(run)
    assert len({row["lease_pid"] for row in rows.values()}) == 2, "both processes took their share"
    assert {row["dispatch_epoch"] for row in rows.values()} == {1}, "the chord brought the join, nobody else"
    quick.quiet(run)
    quick.checks(run)


def test_items_of_a_foreach_are_dealt_out_too(quick: Rig) -> None:
    each = {"id": "each", "uses": "testkit.note", "foreach": "range(12)", "with": {"value": "${item}"}}
    run = quick.submit([each, note("end", "each")])
    quick.ends(run)
    assert len(loose(quick, run)) == 10
    quick.checks(run)


def test_items_hand_their_places_on_without_a_message(quick: Rig) -> None:
    each = {"id": "each", "uses": "testkit.note", "foreach": "range(12)", "with": {"value": "${item}"}}
    run = quick.submit([{**each, "max_parallel": 2}, note("end", "each")])
    quick.ends(run)
    assert loose(quick, run) == {f"each.{n}" for n in range(2, 12)}
    quick.checks(run)


def test_nobody_waits_behind_a_long_sibling(quick: Rig) -> None:
    run = quick.submit(fan(held("h0", "long", "start")))
    others = {f"h{n}" for n in range(1, WIDTH)}
    eventually(
        lambda: {key for key, row in quick.steps(run).items() if row["state"] == "succeeded"} >= others,
        within=20,
        what="the other process takes all other steps",
    )
    assert quick.step(run, "h0")["state"] == "running"
    quick.open_gate("long")
    quick.ends(run)
    quick.checks(run)


def test_a_process_killed_in_the_middle_costs_the_step_that_it_held(quick: Rig) -> None:
    victim = [note("h0", "start"), note("h1", "start"), note("h2", "start"), held("h3", "mid", "start")]
    run = quick.submit(fan(*victim))
    kill(under_way(quick, run, "h3"))
    quick.open_gate("mid")
    quick.ends(run, within=30)
    kills = {key: row["kills"] for key, row in quick.steps(run).items()}
    assert kills == {key: int(key == "h3") for key in kills}
    quick.checks(run, kills=1)


def test_a_pause_in_the_middle_holds_what_is_left(quick: Rig) -> None:
    run = quick.submit(fan(held("h0", "rest", "start"), held("h1", "rest", "start")))
    for key in ("h0", "h1"):
        under_way(quick, run, key)
    tenant, version = quick.run(run)["tenant_id"], quick.run(run)["version"]
    quick.rows("SELECT pause_run(%s, %s, %s::jsonb, %s, 'look')", tenant, run, "{}", version)
    quick.open_gate("rest")
    eventually(lambda: quick.state(run) == "paused", within=10)
    assert begun(quick, run) == {"start", "h0", "h1"}
    quick.rows("SELECT resume_run(%s, %s, %s::jsonb, %s)", tenant, run, "{}", quick.run(run)["version"])
    quick.ends(run)
    quick.checks(run)


def test_a_cancellation_in_the_middle_ends_it_all(quick: Rig) -> None:
    run = quick.submit(fan(held("h0", "never", "start"), held("h1", "never", "start")))
    for key in ("h0", "h1"):
        under_way(quick, run, key)
    quick.rows("SELECT cancel_run(%s, %s, %s::jsonb, NULL, 'enough')", quick.run(run)["tenant_id"], run, "{}")
    quick.ends(run, "cancelled")
    assert begun(quick, run) == {"start", "h0", "h1"}


def test_the_retry_of_one_holds_up_none_of_the_others(quick: Rig) -> None:
    retry = {"attempts": 3, "backoff": 1.5, "jitter": 0}
    late = {"uses": "testkit.fail_first", "with": {"attempts": 1}, "needs": ["start"], "retry": retry}
    run = quick.submit(fan({"id": "h0", **late}, note("h1", "start"), {"id": "h2", **late}))
    others = {f"h{n}" for n in range(WIDTH)} - {"h0", "h2"}
    eventually(lambda: begun(quick, run) >= others, within=20)
    quick.ends(run)
    tries = {key: row["tries"] for key, row in quick.steps(run).items()}
    assert tries == {key: 1 + (key in ("h0", "h2")) for key in tries}
    quick.checks(run)


def test_the_failure_of_one_lets_the_others_end(quick: Rig) -> None:
    bad = {"uses": "testkit.crash", "with": {"words": "no"}, "needs": ["start"], "retry": {"attempts": 1}}
    run = quick.submit(fan({"id": "h0", **bad}, note("h1", "start"), {"id": "h2", **bad}))
    quick.ends(run, "failed")
    states = {key: row["state"] for key, row in quick.steps(run).items()}
    assert {key for key, state in states.items() if state == "failed"} == {"h0", "h2"}
    assert {states[f"h{n}"] for n in range(3, WIDTH)} == {"succeeded"}
    assert states["join"] == "cancelled"


def test_a_worker_that_comes_later_takes_its_share(quick: Rig) -> None:
    on = {"queue": "growing"}
    quick.worker("first", concurrency=1, queues="growing")
    run = quick.submit(fan(held("h0", "grown", "start", **on), **on))
    under_way(quick, run, "h0")
    assert len(loose(quick, run)) == WIDTH - 1, "one process, one message"
    quick.worker("second", concurrency=1, queues="growing")
    others = {f"h{n}" for n in range(1, WIDTH)}
    eventually(lambda: begun(quick, run) >= others, within=30, what="the idle process gets the others")
    quick.open_gate("grown")
    quick.ends(run)
    quick.checks(run)


def test_a_warm_shutdown_hands_on_what_is_left(quick: Rig) -> None:
    on = {"queue": "parting"}
    worker = quick.worker("parting", concurrency=1, queues="parting")
    run = quick.submit(fan(held("h0", "part", "start", **on), **on))
    under_way(quick, run, "h0")
    worker.send(signal.SIGTERM)
    worker.wait_for("Warm shutdown")
    quick.open_gate("part")
    worker.wait(within=20)
    assert begun(quick, run) == {"start", "h0"}
    assert [message["args"][2] for message in quick.messages("parting")] == ["h1"]
    quick.worker("taking", concurrency=1, queues="parting")
    quick.ends(run)
    assert {row["dispatch_epoch"] for row in quick.steps(run).values()} == {1}
    quick.checks(run)
