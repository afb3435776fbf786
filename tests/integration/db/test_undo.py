"""Compensation: what completed is undone in reverse order, each step once, whoever dies on the way."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import dead_letters, nesting, recovery, runs, undo, workers
from app.domain.paging import PageRequest
from tests.support.spine import ACTOR, BROKER, LEASE, Spine

FAULT = {"code": "x"}
LINE = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}


def start(spine: Spine, graph: dict[str, list[str]], **options: Any) -> UUID:
    options.setdefault("undo", list(graph))
    return spine.start(graph, **options)


def call(spine: Spine, action: Any, run: UUID, *arguments: Any) -> str:
    with spine.app.tenant(spine.tenant) as connection:
        verdict: str = action(connection, spine.tenant, run, *arguments)[0]
        return verdict


def retry(spine: Spine, run: UUID, key: str | None = None) -> str:
    return call(spine, runs.retry_run, run, ACTOR, None, key)


def cancel(spine: Spine, run: UUID, compensate: bool = True) -> str:
    return call(spine, runs.cancel_run, run, ACTOR, None, "no need", compensate)


def failed_line(spine: Spine, **options: Any) -> UUID:
    """Return a run whose steps a, b, c succeeded and whose d has failed."""
    run = start(spine, LINE, **options)
    for key in "abc":
        spine.perform(run, key, output={"of": key}, input={"to": key})
    spine.perform(run, "d", "failed", error=FAULT)
    return run


def undo_all(spine: Spine, run: UUID) -> list[str]:
    """Send and perform what is ready until nothing is; return the keys in their order."""
    done = []
    while sent := spine.send(run):
        for key in sent:
            done.append(key)
            spine.perform(run, key)
    return done


def test_a_failed_run_undoes_what_completed_in_reverse_order(spine: Spine) -> None:
    run = failed_line(spine, undo="acd")
    found = spine.run(run)
    assert (found["state"], found["compensation"], found["open_steps"]) == ("compensating", "running", 2)
    assert (found["error"]["code"], found["finished_at"]) == ("steps_failed", None)
    states = spine.states(run)
    assert (states["c"], states["a"]) == ("compensating", "succeeded"), "one after the other"
    assert (states["undo-c"], states["undo-a"]) == ("ready", "pending")
    assert undo_all(spine, run) == ["undo-c", "undo-a"]
    assert spine.states(run) == {
        "a": "compensated",
        "b": "succeeded",
        "c": "compensated",
        "d": "failed",
        "undo-a": "succeeded",
        "undo-c": "succeeded",
    }
    found = spine.run(run)
    assert (found["state"], found["compensation"], found["open_steps"]) == ("failed", "complete", 0)
    assert (found["error"]["code"], found["failed_steps"]) == ("steps_failed", 1)
    assert spine.events(run)[1:] == [
        "step.failed",
        "run.compensating",
        "step.compensated",
        "step.compensated",
        "run.failed",
    ]


def test_the_order_is_that_of_the_ends_not_of_the_plan(spine: Spine) -> None:
    graph: dict[str, list[str]] = {"a": [], "b": [], "c": [], "end": ["a", "b", "c"]}
    run = start(spine, graph)
    claims = {key: spine.claim(run, key) for key in "abc"}
    for key in "bca":
        spine.finish(run, key, claims[key].tries)
    spine.perform(run, "end", "failed", error=FAULT)
    assert undo_all(spine, run) == ["undo-a", "undo-c", "undo-b"]


def test_the_chain_travels_whole_and_carries_on_by_release(spine: Spine) -> None:
    run = failed_line(spine)
    with spine.app.tenant(spine.tenant) as connection:
        links = undo.chain(connection, spine.tenant, run, 2)
    assert [key for key, _ in links] == ["undo-c", "undo-b"]
    assert links[0][1] < links[1][1]
    spine.send(run)
    assert spine.perform(run, "undo-c").needs_advance


def test_an_undo_sees_its_step_s_input_output_and_item(spine: Spine) -> None:
    run = start(spine, {"fan": [], "end": ["fan"]}, fans=["fan"], undo=["fan"])
    spine.expand(run, "fan", ["x", "y"])
    spine.send(run)
    for key in ("fan.0", "fan.1"):
        spine.perform(run, key, output={"of": key}, input={"to": key})
    spine.send(run)
    spine.perform(run, "end", "failed", error=FAULT)
    assert spine.step(run, "fan")["state"] == "compensating"
    spine.send(run)
    seen = spine.claim(run, "undo-fan.1").context
    assert (seen["item"], seen["index"], seen["spec"]) == ("y", 1, {"x": 1})
    assert (seen["input"], seen["output"]) == ({"to": "fan.1"}, {"of": "fan.1"})
    spine.finish(run, "undo-fan.1", 1)
    assert spine.step(run, "fan")["state"] == "compensating", "an item of it still stands"
    assert undo_all(spine, run) == ["undo-fan.0"]
    states = spine.states(run)
    assert (states["fan"], states["fan.0"], states["fan.1"]) == ("compensated",) * 3
    assert spine.run(run)["state"] == "failed"


def test_a_cancelled_run_is_undone_on_request_only(spine: Spine) -> None:
    for compensate in (True, False):
        run = start(spine, LINE, on_failure=False)
        spine.perform(run, "a")
        claim = spine.claim(run, "b")
        assert cancel(spine, run, compensate) == "ok"
        assert spine.run(run)["state"] == "cancelling"
        spine.finish(run, "b", claim.tries, "cancelled", error={"code": "cancelled"})
        assert undo_all(spine, run) == (["undo-a"] if compensate else [])
        found = spine.run(run)
        wanted = ("cancelled", "complete") if compensate else ("cancelled", None)
        assert (found["state"], found["compensation"]) == wanted
        assert found["error"]["code"] == "cancelled"


def test_a_cancellation_under_way_may_still_be_made_to_compensate(spine: Spine) -> None:
    run = start(spine, LINE, on_failure=False)
    spine.perform(run, "a")
    claim = spine.claim(run, "b")
    assert [cancel(spine, run, False), cancel(spine, run), cancel(spine, run)] == ["ok"] * 3
    spine.finish(run, "b", claim.tries)
    assert undo_all(spine, run) == ["undo-b", "undo-a"], "what still ended well is undone, too"
    assert spine.run(run)["state"] == "cancelled"


def test_nothing_to_undo_is_complete_at_once(spine: Spine) -> None:
    failed, cancelled = start(spine, LINE), start(spine, LINE)
    spine.perform(failed, "a", "failed", error=FAULT)
    assert cancel(spine, cancelled) == "ok"
    for run, state in ((failed, "failed"), (cancelled, "cancelled")):
        assert (spine.run(run)["state"], spine.run(run)["compensation"]) == (state, "complete")


def test_a_run_that_does_not_ask_for_it_is_left_as_it_is(spine: Spine) -> None:
    run = failed_line(spine, on_failure=False)
    assert (spine.run(run)["state"], spine.run(run)["compensation"]) == ("failed", None)


def test_a_failing_compensation_stops_the_chain_a_retry_goes_on_from_there(spine: Spine) -> None:
    run = failed_line(spine)
    spine.send(run)
    spine.perform(run, "undo-c")
    spine.send(run)
    spine.perform(run, "undo-b", "failed", error={"code": "refused"})
    found = spine.run(run)
    assert (found["state"], found["compensation"]) == ("failed", "failed")
    assert found["error"]["code"] == "compensation_failed"
    assert (found["error"]["step"], found["error"]["undo"]) == ("b", "undo-b")
    assert found["error"]["cause"]["code"] == "steps_failed"
    states = spine.states(run)
    assert (states["a"], states["b"], states["c"]) == ("succeeded", "succeeded", "compensated")
    assert (states["undo-a"], states["undo-b"]) == ("cancelled", "failed")
    with spine.app.tenant(spine.tenant) as connection:
        parked = dead_letters.page(connection, spine.tenant, PageRequest(50)).items
    assert {row["key"] for row in parked if row["run_id"] == run} == {"d", "undo-b"}
    assert retry(spine, run, "a") == "undone", "no single step of a run that is half undone"
    assert retry(spine, run, "undo-b") == "ok"
    assert undo_all(spine, run) == ["undo-b", "undo-a"]
    found = spine.run(run)
    assert (found["state"], found["compensation"]) == ("failed", "complete")
    assert found["error"]["code"] == "steps_failed"
    assert spine.step(run, "undo-b")["round"] == 1, "another idempotency key"
    assert spine.step(run, "undo-c")["round"] == 0, "what was undone is not undone again"


def test_a_failed_undo_may_be_skipped_by_hand(spine: Spine) -> None:
    run = start(spine, LINE)
    spine.perform(run, "a")
    spine.perform(run, "b")
    assert cancel(spine, run) == "ok"
    spine.send(run)
    spine.perform(run, "undo-b", "failed", error=FAULT)
    assert spine.run(run)["state"] == "failed"
    assert call(spine, runs.skip_step, run, "undo-b", ACTOR, None, "done by telephone") == "ok"
    assert undo_all(spine, run) == ["undo-a"]
    assert spine.run(run)["state"] == "cancelled", "it ends as it was to end"
    assert spine.states(run)["b"] == "compensated"


def test_a_run_that_is_compensating_is_neither_paused_nor_cancelled(spine: Spine) -> None:
    run = failed_line(spine)
    before = spine.run(run)
    assert call(spine, runs.pause_run, run, ACTOR, None, "lunch") == "illegal"
    assert cancel(spine, run) == "illegal"
    assert retry(spine, run) == "illegal"
    assert call(spine, runs.skip_step, run, "undo-c", ACTOR, None, "why not") == "illegal_step"
    assert spine.run(run) == before


def test_a_retry_after_a_compensation_runs_again_what_was_undone_with_what_depends_on_it(
    spine: Spine,
) -> None:
    graph: dict[str, list[str]] = {"a": [], "b": ["a"], "c": ["b"], "x": [], "end": ["c", "x"]}
    run = start(spine, graph, undo=["b"])
    for key in "abcx":
        spine.perform(run, key)
    spine.perform(run, "end", "failed", error=FAULT)
    undo_all(spine, run)
    assert retry(spine, run, "end") == "undone"
    assert retry(spine, run) == "ok"
    assert spine.states(run) == {
        "a": "succeeded",
        "b": "ready",
        "c": "pending",
        "x": "succeeded",
        "end": "pending",
        "undo-b": "succeeded",
    }
    assert (spine.run(run)["state"], spine.run(run)["compensation"]) == ("running", None)
    assert undo_all(spine, run) == ["b", "c", "end"]
    assert spine.run(run)["state"] == "succeeded"


def test_a_second_compensation_has_rounds_of_its_own(spine: Spine) -> None:
    run = start(spine, {"a": [], "b": ["a"]})
    for round_number in (0, 1):
        spine.perform(run, "a") if round_number == 0 else None
        spine.perform(run, "b", "failed", error=FAULT)
        spine.send(run)
        assert spine.claim(run, "undo-a").round == round_number
        spine.finish(run, "undo-a", spine.step(run, "undo-a")["tries"])
        assert spine.run(run)["compensation"] == "complete"
        if round_number == 0:
            assert retry(spine, run) == "ok"
            spine.send(run)
            spine.perform(run, "a")
            spine.send(run)


def test_an_undo_is_retried_and_recovered_like_any_step(spine: Spine) -> None:
    run = failed_line(spine)
    spine.send(run)
    claim = spine.claim(run, "undo-c")
    spine.finish(run, "undo-c", claim.tries, "retry", error=FAULT, retry_in_s=0)
    assert run in [found.run_id for found in recovery.due_waits(spine.system, 1000)]
    spine.send(run)
    assert spine.claim(run, "undo-c").attempt == 2
    released = workers.release_child(spine.system, LEASE.boot, LEASE.child)
    assert run in [found.run_id for found in released]
    late = spine.finish(run, "undo-c", 2)
    assert late.verdict == "lost", "the process that died cannot undo it a second time"
    spine.admin.call(
        "UPDATE run_steps SET ready_at = ready_at - interval '1 minute' WHERE run_id = %s", (run,)
    )
    assert run in [found.run_id for found in recovery.unsent_runs(spine.system, 1000, 1)]
    assert undo_all(spine, run) == ["undo-c", "undo-b", "undo-a"]
    assert spine.run(run)["compensation"] == "complete"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_deadline_lets_the_run_be_undone_but_not_the_undoing_be_stopped(spine: Spine, moment: str) -> None:
    carriers = {base: seq for seq, base in enumerate(LINE)}
    plan = spine.plan(LINE, undo=list(LINE), carriers=carriers)
    run = spine.declare(plan, broker=BROKER, limits={"deadline_s": 3600.0})
    spine.perform(run, "a")
    if moment == "after":
        spine.perform(run, "b", "failed", error=FAULT)
    spine.admin.call(
        "UPDATE runs SET deadline_at = clock_timestamp(), due_at = clock_timestamp() WHERE id = %s", (run,)
    )
    spine.system.call("SELECT * FROM fire_limits(100)")
    assert spine.run(run)["state"] == "compensating"
    assert undo_all(spine, run) == ["undo-a"]
    wanted = "steps_failed" if moment == "after" else "deadline_exceeded"
    assert (spine.run(run)["state"], spine.run(run)["error"]["code"]) == ("failed", wanted)


@pytest.mark.parametrize("compensate", [True, False])
def test_a_sub_workflow_stopped_with_its_parent_is_undone_with_it(spine: Spine, compensate: bool) -> None:
    child_plan = spine.plan({"x": [], "y": ["x"]}, undo=["x"], on_failure=False)
    run = spine.declare(
        spine.plan({"a": [], "call": ["a"]}, calls={"call": child_plan}, undo=["a"], on_failure=False)
    )
    spine.send(run)
    spine.perform(run, "a")
    child = spine.call_child(run, "call", {}).child
    assert child is not None
    spine.send(child)
    spine.perform(child, "x")
    assert cancel(spine, run, compensate) == "ok"
    assert spine.run(run)["state"] == "cancelling", "its step ends with the child"
    assert cancel(spine, child, False) == "ok"
    assert undo_all(spine, child) == (["undo-x"] if compensate else [])
    assert spine.run(child)["state"] == "cancelled"
    with spine.app.tenant(spine.tenant) as connection:
        nesting.end_child(connection, spine.tenant, child, None, None)
    assert undo_all(spine, run) == (["undo-a"] if compensate else [])
    assert spine.run(run)["state"] == "cancelled"
