"""The life of steps: claimed, fenced, fanned out, failed, given back."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from app.domain.leases import Child, Lease
from tests.support.spine import LEASE, Spine

OTHER = Lease(LEASE.boot, Child(101, 1), "worker-1")


def test_claim_brings_what_the_step_refers_to(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    spine.perform(run, "a", output={"n": 1})
    claim = spine.claim(run, "b")
    assert (claim.tries, claim.attempt, claim.round, claim.operation) == (1, 1, 0, "core.echo")
    assert claim.context["steps"] == {"a": {"state": "succeeded", "output": {"n": 1}, "error": None}}
    assert claim.context["spec"] == {"x": 1}
    assert claim.context["run"]["id"] == str(run)


def test_claim_again_by_the_same_child_is_the_same_claim(spine: Spine) -> None:
    run = spine.start({"a": []})
    assert spine.claim(run, "a").tries == spine.claim(run, "a").tries == 1
    assert spine.claim(run, "a", lease=OTHER).verdict == "lost"


def test_claims_out_of_time(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    assert spine.claim(run, "b").verdict == "lost", "a body that comes first does nothing"
    assert spine.claim(run, "a", epoch=2).verdict == "lost", "nor does a message of another epoch"
    assert spine.run(run)["state"] == "queued"
    spine.perform(run, "a")
    assert spine.claim(run, "a").verdict == "done", "a redelivered message lets its canvas go on"
    assert spine.claim(run, "b", epoch=2).verdict == "lost", "no other epoch in a run under way either"
    assert spine.states(run)["b"] == "ready"


def test_claim_as_another_tenant_finds_nothing(spine: Spine) -> None:
    run = spine.start({"a": []})
    mine, spine.tenant = spine.tenant, spine.new_tenant()
    try:
        assert spine.claim(run, "a").verdict == "lost"
    finally:
        spine.tenant = mine


def test_finish_is_compare_and_set(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "c": ["a"]})
    spine.perform(run, "a", output=1)
    again = spine.finish(run, "a", 1, output=2)
    assert again.verdict == "lost"
    assert spine.step(run, "a")["output"] == 1
    assert spine.run(run)["open_steps"] == 2


def test_late_owner_is_fenced(spine: Spine) -> None:
    run = spine.start({"a": []})
    first = spine.claim(run, "a")
    spine.finish(run, "a", first.tries, "killed")
    spine.send(run)
    second = spine.claim(run, "a", lease=OTHER)
    assert (second.tries, second.attempt) == (2, 1), "a kill gives its attempt back, never its fence"
    assert spine.finish(run, "a", first.tries, output="late").verdict == "lost"
    assert spine.finish(run, "a", second.tries, output="right").run_state == "succeeded"
    assert spine.step(run, "a")["output"] == "right"


def test_third_kill_poisons(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    for _ in range(2):
        killed = spine.perform(run, "a", "killed", error={"code": "process_died"})
        assert (killed.run_state, killed.needs_advance) == ("running", True)
        spine.send(run)
    assert spine.perform(run, "a", "killed").run_state == "failed"
    assert spine.step(run, "a")["error"]["code"] == "poisoned"
    assert spine.states(run) == {"a": "failed", "b": "cancelled"}
    assert spine.events(run) == ["run.started", "step.poisoned", "run.failed"]
    attempts = spine.admin.call("SELECT state FROM step_attempts WHERE run_id = %s ORDER BY tries", (run,))
    assert attempts == [("killed",)] * 3


def test_failure_cancels_dependants_and_lets_others_go_on(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "c": ["b"], "d": []})
    assert spine.perform(run, "a", "failed", error={"code": "x"}).run_state == "running"
    assert spine.states(run) == {"a": "failed", "b": "cancelled", "c": "cancelled", "d": "ready"}
    assert spine.step(run, "c")["error"] == {"code": "upstream_failed", "step": "a"}
    assert spine.perform(run, "d").run_state == "failed"


def test_accepted_failure_releases_dependants(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]}, lenient=["a"])
    spine.perform(run, "a", "failed", error={"code": "x"})
    assert spine.claim(run, "b").context["steps"]["a"] == {
        "state": "failed",
        "output": None,
        "error": {"code": "x"},
    }
    assert spine.finish(run, "b", 1).run_state == "succeeded"


def test_skipped_step_releases_dependants(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"]})
    assert spine.perform(run, "a", "skipped").needs_advance is False
    assert spine.perform(run, "b").run_state == "succeeded"


def test_retry_breaks_the_canvas_and_waits(spine: Spine) -> None:
    plan = spine.plan({"a": [], "b": ["a"], "c": ["b"]}, carriers={"a": 1, "b": 1, "c": 1})
    run = spine.declare(plan, broker="broker-1")
    assert spine.perform(run, "a", "retry", error={"code": "x"}, retry_in_s=0).needs_advance is False
    assert spine.states(run) == {"a": "waiting", "b": "pending", "c": "pending"}
    assert [spine.step(run, key)["sent_at"] for key in "abc"] == [None] * 3
    assert run in {row[1] for row in spine.system.call("SELECT * FROM due_waits(10)")}
    assert spine.send(run) == {"a": 2}
    assert spine.claim(run, "a", epoch=1).verdict == "lost"
    assert spine.perform(run, "a").needs_advance is True, "b is ready and no canvas carries it now"


def test_fan_of_nothing_lets_the_join_run(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"]))
    assert spine.expand(run, "f", []) is True
    claim = spine.claim(run, "join", spine.send(run)["join"])
    assert claim.context["steps"]["f"] == {"state": "succeeded", "output": [], "error": None}
    assert spine.finish(run, "join", 1).run_state == "succeeded"


def test_run_of_an_empty_fan_ends_by_the_expansion(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": []}, fans=["f"]))
    assert spine.expand(run, "f", []) is False
    assert spine.events(run) == ["run.started", "run.succeeded"]


def test_last_item_closes_the_fan_with_outputs_in_order(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"]))
    spine.expand(run, "f", ["p", "q", "r"])
    spine.send(run)
    for key in ("f.2", "f.0", "f.1"):
        claim = spine.claim(run, key)
        finish = spine.finish(run, key, claim.tries, output=[claim.context["item"], claim.context["index"]])
    assert finish.needs_advance is True
    claim = spine.claim(run, "join", spine.send(run)["join"])
    assert claim.context["steps"]["f"]["output"] == [["p", 0], ["q", 1], ["r", 2]]


def test_failed_item_fails_the_fan_when_all_have_ended(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"]))
    spine.expand(run, "f", [1, 2])
    spine.send(run)
    assert spine.perform(run, "f.0", "failed", error={"code": "x"}).run_state == "running"
    assert spine.perform(run, "f.1").run_state == "failed"
    assert spine.states(run) == {"f": "failed", "f.0": "failed", "f.1": "succeeded", "join": "cancelled"}


def test_failed_decision_fails_the_run(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"]))
    spine.app.call("SELECT fail_decision(%s, %s, 'f', '{\"code\": \"bad\"}')", (spine.tenant, run))
    assert spine.run(run)["state"] == "failed"
    assert spine.states(run) == {"f": "failed", "join": "cancelled"}


def test_unstorable_output_fails_the_step(spine: Spine) -> None:
    run = spine.start({"a": []})
    assert spine.perform(run, "a", output="\0").run_state == "failed"
    assert spine.step(run, "a")["error"]["code"] == "output_invalid"


def test_intent_follows_its_run(spine: Spine) -> None:
    run = spine.start({"a": []})

    def intent() -> tuple[str, int]:
        rows = spine.admin.call(
            "SELECT phase, observed_generation FROM intents"
            " WHERE id = (SELECT intent_id FROM runs WHERE id = %s)",
            (run,),
        )
        return rows[0]

    assert intent() == ("pending", 0)
    claim = spine.claim(run, "a")
    assert intent() == ("running", 0)
    spine.finish(run, "a", claim.tries)
    assert intent() == ("succeeded", 1)


def test_plan_without_steps_starts_nothing(spine: Spine) -> None:
    with pytest.raises(DBAPIError, match="plan without steps"):
        spine.declare("nowhere")
