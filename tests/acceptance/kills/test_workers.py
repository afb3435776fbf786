"""Deaths of workers with their pool processes, while steps run in them."""

from __future__ import annotations

import os
import signal

import pytest

from tests.support.rig import Rig, held, kill, note
from tests.support.waiting import eventually

RETRY = {"attempts": 3, "backoff": 0.3, "jitter": 0}


@pytest.mark.parametrize("moment", ["first of a chain", "header of a chord", "body of a chord"])
def test_a_pool_process_killed_in_a_step_costs_one_attempt(busy: Rig, moment: str) -> None:
    gate = f"child.{moment[:6].replace(' ', '')}{len(moment)}"
    steps = {
        "first of a chain": [held("victim", gate), note("after", "victim")],
        "header of a chord": [
            note("start"),
            held("victim", gate, "start"),
            note("other", "start"),
            note("join", "victim", "other"),
        ],
        "body of a chord": [note("a"), note("b"), held("victim", gate, "a", "b"), note("end", "victim")],
    }[moment]
    run = busy.submit(steps)
    eventually(lambda: busy.ledger.begun(str(run), "victim"), within=20)
    victim = busy.step(run, "victim")
    assert victim["state"] == "running"
    kill(victim["lease_pid"])
    busy.open_gate(gate)
    busy.ends(run, within=20)
    assert busy.step(run, "victim")["kills"] == 1
    busy.checks(run, kills=1)


def test_a_step_that_kills_its_process_is_parked_after_three_deaths(busy: Rig) -> None:
    run = busy.submit([{"id": "poison", "uses": "testkit.die"}, note("after", "poison"), note("apart")])
    busy.ends(run, "failed")
    steps = busy.steps(run)
    assert (steps["poison"]["state"], steps["poison"]["error"]["code"]) == ("failed", "poisoned")
    assert len(busy.ledger.begun(str(run), "poison")) == 3
    assert (steps["after"]["state"], steps["apart"]["state"]) == ("cancelled", "succeeded")
    busy.checks(run, kills=3)


def test_a_worker_killed_whole_is_noticed_and_its_steps_run_elsewhere(busy: Rig) -> None:
    worker = busy.worker("doomed", queues="doomed")
    steps = [
        held("victim", "doomed", queue="doomed"),
        held("second", "doomed", queue="doomed"),
        note("join", "victim", "second"),
    ]
    run = busy.submit(steps)
    eventually(lambda: busy.count(run, "running") == 2, within=20)
    os.killpg(worker.pid, signal.SIGKILL)
    busy.open_gate("doomed")
    busy.worker("heir", queues="doomed")
    busy.ends(run)
    assert [busy.step(run, key)["kills"] for key in ("victim", "second")] == [1, 1]
    busy.checks(run, kills=2)


def test_a_header_retried_after_its_siblings_finished_holds_the_join_back(busy: Rig) -> None:
    late = {"uses": "testkit.fail_first", "with": {"attempts": 2}, "retry": RETRY}
    run = busy.submit(
        [
            note("start"),
            {"id": "late", "needs": ["start"], **late},
            note("quick", "start"),
            note("other", "start"),
            note("join", "late", "quick", "other"),
            note("end", "join"),
        ]
    )
    busy.ends(run)
    assert len(busy.ledger.begun(str(run), "late")) == 3
    assert len(busy.ledger.begun(str(run), "join")) == 1
    busy.checks(run)


def test_messages_that_come_twice_run_nothing_twice(busy: Rig) -> None:
    run = busy.submit([note("start"), held("middle", "twice", "start"), note("end", "middle")])
    eventually(lambda: busy.ledger.begun(str(run), "middle"), within=20)
    for key in ("start", "middle", "end", "start", "middle", "end"):
        busy.resend(run, key, 1)
    eventually(lambda: not busy.depth(), within=20)
    busy.open_gate("twice")
    busy.ends(run)
    for key in ("start", "middle", "end"):
        busy.resend(run, key, 1)
    busy.quiet(run)
    assert [len(busy.ledger.begun(str(run), key)) for key in ("start", "middle", "end")] == [1, 1, 1]
    busy.checks(run)


def test_a_chord_body_that_comes_first_waits_and_twice_runs_once(busy: Rig) -> None:
    run = busy.submit(
        [held("left", "body"), note("right"), note("join", "left", "right"), note("end", "join")]
    )
    eventually(lambda: busy.ledger.begun(str(run), "left"), within=20)
    busy.resend(run, "join", 1)
    eventually(lambda: not busy.depth(), within=20)
    assert busy.step(run, "join")["state"] == "pending"
    busy.open_gate("body")
    busy.ends(run)
    busy.resend(run, "join", 1)
    busy.quiet(run)
    assert len(busy.ledger.begun(str(run), "join")) == 1
    busy.checks(run)


def test_a_fan_runs_each_item_once_and_an_empty_one_still_joins(busy: Rig) -> None:
    fan = {"id": "fan", "uses": "testkit.note", "foreach": "spec.items", "with": {"value": "${item}"}}
    steps = [fan, note("join", "fan", **{"with": {"value": "${steps.fan.output}"}})]
    full, empty = (busy.submit(steps, {"items": items}) for items in (["a", "b", "c"], []))
    busy.ends(full)
    busy.ends(empty)
    told = busy.step(full, "join")["output"]["value"]
    assert [item["value"] for item in told] == ["a", "b", "c"]
    assert busy.step(empty, "join")["output"]["value"] == []
    busy.checks(full)


def test_a_step_past_its_soft_limit_fails_or_is_tried_again(busy: Rig) -> None:
    retry = {"attempts": 2, "backoff": 0.1, "jitter": 0}
    run = busy.submit(
        [note("slow", timeout=1, retry=retry, **{"with": {"seconds": 30}}), note("after", "slow")]
    )
    busy.ends(run, "failed")
    row = busy.step(run, "slow")
    assert (row["error"]["code"], row["tries"], row["kills"]) == ("timeout", 2, 0)


def test_a_skipped_step_and_an_accepted_failure_let_the_join_run(busy: Rig) -> None:
    fails = {"uses": "testkit.fail_first", "with": {"attempts": 9, "retryable": False}}
    told = {"value": ["${steps.skipped.output}", "${steps.failed.output}", "${steps.plain.output.value}"]}
    run = busy.submit(
        [
            note("skipped", when="spec.wanted"),
            {"id": "failed", "continue_on_failure": True, **fails},
            note("plain", **{"with": {"value": 1}}),
            note("join", "skipped", "failed", "plain", **{"with": told}),
        ],
        {"wanted": False},
    )
    busy.ends(run)
    steps = busy.steps(run)
    assert [steps[key]["state"] for key in ("skipped", "failed", "join")] == [
        "skipped",
        "failed",
        "succeeded",
    ]
    assert steps["join"]["output"]["value"] == [None, None, 1]
    busy.checks(run)
