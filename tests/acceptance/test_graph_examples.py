"""The documents' examples of fans, of sub-workflows, run by real processes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import IllegalState
from app.services import browse
from app.services.cancel_run import cancel_run
from app.services.pause_run import pause_run, resume_run
from app.services.retry_run import retry_run
from app.services.skip_step import skip_step
from tests.support.examples import submit_example
from tests.support.rig import Rig, held, note
from tests.support.waiting import eventually


def children(rig: Rig, run: UUID) -> list[dict[str, Any]]:
    return rig.rows("SELECT * FROM runs WHERE parent_run_id = %s ORDER BY parent_step, parent_try", run)


def test_a_fan_of_parts_three_at_a_time(rig: Rig) -> None:
    run = submit_example(rig, "fan", {"parts": 8})
    rig.ends(run)
    assert rig.step(run, "report")["output"]["message"] == "8 parts"
    attempts = {key: row["attempt"] for key, row in rig.steps(run).items() if key.startswith("each.")}
    assert attempts == {f"each.{n}": 2 if n == 2 else 1 for n in range(8)}, "each item has its own attempts"
    rig.checks(run)


def test_no_more_items_are_sent_than_there_are_places(rig: Rig) -> None:
    each = held("each", "fan gate", "list", foreach="range(5)", max_parallel=2)
    run = rig.submit([note("list"), each, note("end", "each")])
    eventually(lambda: rig.count(run, "running") == 2, within=20)
    assert rig.count(run, "pending") == 4, "three items without a place, and the last step"
    rig.open_gate("fan gate")
    rig.ends(run)
    rig.checks(run)


REGIONS = [
    {"name": name, "hosts": n, "healthy": True} for n, name in enumerate(("north", "south", "west"), 1)
]


def test_a_rollout_runs_another_workflow_for_each_region(rig: Rig) -> None:
    run = submit_example(rig, "rollout", {"regions": REGIONS}, "region")
    rig.ends(run)
    found = children(rig, run)
    assert [(one["parent_step"], one["state"], one["depth"]) for one in found] == [
        (f"regions.{n}", "succeeded", 1) for n in range(3)
    ]
    assert rig.step(run, "regions.1")["output"] == {"region": "south", "hosts": ["south-0", "south-1"]}
    engine = rig.base.engine
    parts = (engine.database, engine.plans, engine.artifacts)
    shown = browse.show_run(*parts, rig.actor, run)
    assert shown["output"] == {"announced": "3 regions, first host north-0"}
    links = {step["key"]: step["child_run_id"] for step in shown["steps"]}
    assert [links["regions.0"], links["regions"]] == [found[0]["id"], None]
    child = browse.show_run(*parts, rig.actor, found[0]["id"])
    assert child["parent"] == {"run_id": str(run), "step": "regions.0"}
    assert child["spec"] == {"region": "north", "hosts": 1, "healthy": True}
    for one in found:
        rig.checks(one["id"])


def test_the_retry_of_a_parent_retries_the_child_that_failed(rig: Rig) -> None:
    broken = {
        "id": "broken",
        "uses": "testkit.fail_without",
        "with": {"gate": "region mended"},
        "needs": ["first"],
    }
    child = {"name": "test.child", "version": 1, "steps": [note("first"), broken]}
    steps = [
        {"id": "call", "workflow": "test.child", "with": {"a": 1}},
        note("after", "call"),
        {"id": "sorry", "uses": "testkit.note", "needs": [{"step": "call", "on": "failure"}]},
    ]
    run = rig.submit_definition({"name": "test.retry", "version": 1, "steps": steps}, children=[child])
    rig.ends(run, "failed")
    (failed,) = children(rig, run)
    assert rig.step(run, "call")["error"]["child_run_id"] == str(failed["id"])
    assert rig.step(run, "sorry")["state"] == "succeeded"
    with pytest.raises(IllegalState, match=str(run)):
        retry_run(rig.base, rig.actor, failed["id"])
    rig.open_gate("region mended")
    retry_run(rig.base, rig.actor, run)
    rig.ends(run)
    (same,) = children(rig, run)
    assert (same["id"], same["state"], same["round"]) == (failed["id"], "succeeded", 1)
    assert {key: row["tries"] for key, row in rig.steps(same["id"]).items()} == {"first": 1, "broken": 2}


def test_a_sub_workflow_that_fails_is_retried_by_its_step_and_goes_on_where_it_failed(rig: Rig) -> None:
    broken = {
        "id": "broken",
        "uses": "testkit.fail_without",
        "with": {"gate": "child mended"},
        "needs": ["first"],
    }
    child = {"name": "test.mended", "version": 1, "steps": [note("first"), broken]}
    steps = [
        {"id": "call", "workflow": "test.mended", "retry": {"attempts": 3, "backoff": 1, "jitter": 0}},
        note("after", "call"),
    ]
    run = rig.submit_definition({"name": "test.patient", "version": 1, "steps": steps}, children=[child])
    eventually(lambda: rig.step(run, "call")["not_before"] is not None, within=20)
    assert rig.step(run, "call")["error"]["cause"] == "steps_failed"
    rig.open_gate("child mended")
    rig.ends(run)
    (same,) = children(rig, run)
    assert {key: row["tries"] for key, row in rig.steps(same["id"]).items()} == {"first": 1, "broken": 2}
    assert (rig.step(run, "call")["attempt"], rig.run(run)["round"]) == (2, 0)


@pytest.mark.parametrize("timeout", [0.01, 0.5])
def test_the_timeout_of_a_step_is_the_deadline_of_its_sub_workflow(rig: Rig, timeout: float) -> None:
    child = {"name": "test.slow", "version": 1, "steps": [held("hold", "never opened")]}
    steps = [{"id": "call", "workflow": "test.slow", "timeout": timeout}]
    run = rig.submit_definition({"name": "test.hasty", "version": 1, "steps": steps}, children=[child])
    rig.ends(run, "failed")
    error = rig.step(run, "call")["error"]
    assert (error["code"], error["cause"]) == ("child_failed", "deadline_exceeded")


def nested(gate: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A run of a run of a run, whose innermost step holds at a gate."""
    name = f"test.{gate}"
    inner = {"name": f"{name}.inner", "version": 1, "steps": [held("hold", gate)]}
    middle = {
        "name": f"{name}.middle",
        "version": 1,
        "steps": [{"id": "inner", "workflow": f"{name}.inner@1"}, note("then", "inner")],
    }
    outer = {
        "name": name,
        "version": 1,
        "steps": [{"id": "middle", "workflow": f"{name}.middle"}, note("last", "middle")],
        **more,
    }
    return outer, middle, inner


def depths(rig: Rig, run: UUID) -> dict[int, str]:
    """The states of a run with those below it, by depth."""
    found = rig.rows("SELECT depth, state FROM runs WHERE intent_id = %s", rig.run(run)["intent_id"])
    return {row["depth"]: row["state"] for row in found}


def hold_at(rig: Rig, gate: str) -> UUID:
    outer, *others = nested(gate)
    run = rig.submit_definition(outer, children=others)
    eventually(lambda: depths(rig, run) == dict.fromkeys(range(3), "running"), within=20)
    innermost = rig.rows("SELECT id FROM runs WHERE intent_id = %s AND depth = 2", rig.run(run)["intent_id"])
    eventually(lambda: rig.count(innermost[0]["id"], "running") == 1, within=20)
    return run


def test_a_cancel_passes_down_and_the_run_ends_when_all_have(rig: Rig) -> None:
    run = hold_at(rig, "cancel")
    assert cancel_run(rig.base, rig.actor, run, reason="enough").state == "cancelling"
    rig.ends(run, "cancelled")
    assert depths(rig, run) == dict.fromkeys(range(3), "cancelled")


def test_a_pause_passes_down_and_so_does_the_resume(rig: Rig) -> None:
    run = hold_at(rig, "pause")
    pause_run(rig.base, rig.actor, run)
    assert depths(rig, run) == {0: "paused", 1: "paused", 2: "pausing"}
    rig.open_gate("pause")
    # The innermost run ends: nothing of it was left to begin. Those above it rest.
    eventually(lambda: depths(rig, run) == {0: "paused", 1: "paused", 2: "succeeded"}, within=20)
    resume_run(rig.base, rig.actor, run)
    rig.ends(run)


def test_a_skipped_step_cancels_its_run(rig: Rig) -> None:
    run = hold_at(rig, "skip")
    skip_step(rig.base, rig.actor, run, "middle", "not needed today")
    rig.ends(run)
    eventually(lambda: depths(rig, run) == {0: "succeeded", 1: "cancelled", 2: "cancelled"}, within=20)
    assert rig.step(run, "last")["state"] == "succeeded"
