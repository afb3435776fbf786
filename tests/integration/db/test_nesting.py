"""Sub-workflows in the rows: one child a round, told once, in line with its parent, never two runs locked."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import hot, nesting, runs
from app.services.family import RECOVERY
from tests.support.spine import ACTOR, Race, Spine, ask


def family(spine: Spine, **options: Any) -> tuple[UUID, UUID]:
    """A run whose step `call`, needed by z, is a run of two steps x, y; both runs are under way."""
    child = spine.plan({"x": [], "y": ["x"]})
    run = spine.declare(spine.plan({"call": [], "z": ["call"]}, calls={"call": child}, **options))
    begun = spine.call_child(run, "call", {"n": 1})
    assert begun.verdict == "begun" and begun.child is not None
    return run, begun.child


def end(spine: Spine, run: UUID, outcome: str = "succeeded") -> None:
    """Perform the steps x, y of a child; with `failed` x fails."""
    for key in ("x", "y") if outcome == "succeeded" else ("x",):
        spine.send(run)
        spine.perform(run, key, outcome, error={"code": "broken"} if outcome == "failed" else None)


def due(spine: Spine, run: UUID) -> list[str]:
    with spine.app.tenant(spine.tenant) as connection:
        return [one.what for one in nesting.due_of(connection, spine.tenant, run)]


def steer(spine: Spine, run: UUID, what: str, *more: Any) -> str:
    with spine.app.tenant(spine.tenant) as connection:
        return str(getattr(runs, f"{what}_run")(connection, spine.tenant, run, ACTOR, None, *more)[0])


def send_again(spine: Spine, child: UUID) -> bool:
    with spine.app.tenant(spine.tenant) as connection:
        return nesting.send_on(connection, spine.tenant, child)


def test_the_child_is_a_run_of_its_own_with_its_own_spec(spine: Spine) -> None:
    run, child = family(spine)
    parent, row = spine.run(run), spine.run(child)
    assert (parent["state"], spine.step(run, "call")["state"]) == ("running", "waiting")
    same = ("tenant_id", "intent_id", "generation", "type_name", "priority")
    assert [row[name] for name in same] == [parent[name] for name in same]
    assert (row["parent_run_id"], row["parent_step"], row["depth"]) == (str(run), "call", 1)
    spine.send(child)
    assert spine.claim(child, "x").context["spec"] == {"n": 1}
    assert spine.send(run) == {}, "nothing of the parent is sent while it waits"


def test_a_step_becomes_one_run_only(spine: Spine) -> None:
    run, child = family(spine)
    assert spine.call_child(run, "call", {"n": 1}).verdict == "lost"
    with pytest.raises(Exception, match="runs_child"), spine.app.tenant(spine.tenant) as connection:
        connection.exec_driver_sql(
            "INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name,"
            " workflow_version, open_steps, parent_run_id, parent_step, parent_try)"
            " SELECT tenant_id, gen_random_uuid(), intent_id, generation, type_name, plan_hash,"
            " workflow_name, workflow_version, 1,"
            " parent_run_id, parent_step, parent_try FROM runs WHERE id = %s",
            (child,),
        )


def test_a_family_is_counted_from_its_root(spine: Spine) -> None:
    leaf = spine.plan({"x": []})
    middle = spine.plan({"one": [], "two": []}, calls={"one": leaf, "two": leaf})
    run = spine.declare(spine.plan({"call": []}, calls={"call": middle}))
    begun = spine.call_child(run, "call").child
    assert begun is not None
    grandchildren = [spine.call_child(begun, key).child for key in ("one", "two")]
    for one in (run, begun, *grandchildren):
        assert one is not None
        with spine.app.tenant(spine.tenant) as connection:
            assert nesting.count_family(connection, spine.tenant, one, 100) == 4
            assert nesting.count_family(connection, spine.tenant, one, 3) == 3


def test_two_that_call_at_once_begin_one_child(spine: Spine) -> None:
    child = spine.plan({"x": []})
    run = spine.declare(spine.plan({"call": []}, calls={"call": child}))
    call = "SELECT verdict FROM start_child(%s, %s, 'call', '{}', 5)"
    with spine.session() as first, spine.session() as second:
        assert ask(first, call, str(spine.tenant), str(run)) == ("begun",)
        race = Race(second, lambda: ask(second, call, str(spine.tenant), str(run)))
        spine.wait_blocked(race)
        first.commit()
        assert race.result() == ("lost",)
        second.commit()
    assert spine.admin.call("SELECT count(*) FROM runs WHERE parent_run_id = %s", (run,)) == [(1,)]


def test_the_childs_end_ends_the_step_once(spine: Spine) -> None:
    run, child = family(spine)
    end(spine, child)
    assert spine.run(child)["state"] == "succeeded"
    assert spine.step(run, "call")["state"] == "waiting", "the child's end is committed first"
    assert due(spine, run) == ["tell"]
    assert spine.tell(child, {"sum": 3}) == nesting.Told(run, True)
    assert spine.step(run, "call")["output"] == {"sum": 3}
    assert spine.tell(child, {"sum": 4}) == nesting.Told(None, False), "whoever comes second changes nothing"
    assert (spine.step(run, "call")["output"], spine.run(run)["open_steps"]) == ({"sum": 3}, 1)
    assert due(spine, run) == []
    phase = "SELECT phase FROM intents WHERE id = %s"
    assert spine.admin.call(phase, (spine.run(run)["intent_id"],)) == [("running",)]
    spine.send(run)
    assert spine.perform(run, "z").run_state == "succeeded"
    assert spine.admin.call(phase, (spine.run(run)["intent_id"],)) == [("succeeded",)]
    data = "SELECT type, data ->> 'parent_run_id' FROM events WHERE subject = %s ORDER BY seq"
    told = dict(spine.admin.call(data, (f"runs/{child}",)))
    assert told == {"io.quantum.run.started": str(run), "io.quantum.run.succeeded": str(run)}


def test_the_end_of_a_child_waits_for_its_parents_lock_and_reads_the_child_after_it(spine: Spine) -> None:
    run, child = family(spine)
    end(spine, child, "failed")
    with spine.session() as other, spine.session() as teller:
        ask(other, "SELECT 1 FROM runs WHERE id = %s FOR NO KEY UPDATE", str(run))
        tell = "SELECT parent::text FROM end_child(%s, %s, NULL, NULL)"
        race = Race(teller, lambda: ask(teller, tell, str(spine.tenant), str(child)))
        spine.wait_blocked(race)
        # The child is not locked meanwhile, so it can be sent on; whoever waits sees that it has not ended.
        spine.admin.call("SET lock_timeout = '2s'; UPDATE runs SET state = 'running' WHERE id = %s", (child,))
        other.rollback()
        assert race.result() == (None,)
        teller.commit()
    assert spine.step(run, "call")["state"] == "waiting"


def test_a_failed_child_goes_on_when_its_parent_is_retried(spine: Spine) -> None:
    run, child = family(spine)
    end(spine, child, "failed")
    assert spine.tell(child) == nesting.Told(run, False)
    assert spine.step(run, "call")["error"] == {
        "code": "child_failed",
        "message": "its run ended failed",
        "state": "failed",
        "cause": "steps_failed",
        "child_run_id": str(child),
    }
    assert spine.run(run)["state"] == "failed"
    assert steer(spine, child, "retry") == "child", "the parent is what is retried"
    assert steer(spine, run, "retry") == "ok"
    again = spine.call_child(run, "call", {"n": 1})
    assert (again.verdict, again.child) == ("again", child)
    assert due(spine, run) == ["retry"], "what a crash leaves undone"
    assert send_again(spine, child) is True
    assert send_again(spine, child) is False, "once"
    assert (spine.run(child)["state"], spine.step(child, "x")["round"]) == ("running", 1)
    end(spine, child)
    assert spine.tell(child).parent == run
    spine.send(run)
    assert spine.perform(run, "z").run_state == "succeeded"


def retried(spine: Spine) -> tuple[UUID, UUID]:
    """A run whose step waits for the next attempt of its child, which has failed."""
    run, child = family(spine)
    end(spine, child, "failed")
    with spine.app.tenant(spine.tenant) as connection:
        told = nesting.end_child(connection, spine.tenant, child, None, None, 60.0)
    assert told == nesting.Told(None, False)
    return run, child


def test_a_step_with_attempts_left_waits_and_then_sends_its_child_on(spine: Spine) -> None:
    run, child = retried(spine)
    step = spine.step(run, "call")
    assert (step["state"], step["attempt"], step["error"]["code"]) == ("waiting", 1, "child_failed")
    assert spine.tell(child) == nesting.Told(None, False), "it is told once"
    assert due(spine, run) == [], "nobody sends the child on before its time"
    assert spine.events(run)[-1] == "step.retrying"
    spine.admin.call("UPDATE run_steps SET not_before = now() WHERE run_id = %s AND key = 'call'", (run,))
    spine.system.call("SELECT * FROM due_waits(100)")
    assert spine.call_child(run, "call", {"n": 1}).verdict == "again"
    assert due(spine, run) == ["retry"]
    assert send_again(spine, child)
    end(spine, child)
    assert spine.tell(child).parent == run
    assert (spine.step(run, "call")["state"], spine.step(run, "call")["attempt"]) == ("succeeded", 2)
    states = "SELECT state, attempt FROM step_attempts WHERE run_id = %s AND key = 'call'"
    assert spine.admin.call(states, (run,)) == [("retry", 1)]


def test_a_step_that_waits_for_its_retry_is_closed_by_a_cancel(spine: Spine) -> None:
    run, _ = retried(spine)
    assert steer(spine, run, "cancel", None) == "ok"
    assert (spine.run(run)["state"], spine.step(run, "call")["state"]) == ("cancelled", "cancelled")


def test_a_child_has_the_timeout_of_its_step_as_its_deadline(spine: Spine) -> None:
    child = spine.plan({"x": []})
    plan = spine.plan({"call": []}, calls={"call": child})
    spine.admin.call(
        "UPDATE plan_steps SET definition = definition || '{\"timeout_s\": 90}' WHERE plan_hash = %s", (plan,)
    )
    begun = spine.call_child(spine.declare(plan), "call")
    assert begun.child is not None
    row = spine.run(begun.child)
    assert (row["deadline_s"], row["deadline_at"] is not None) == (90, True)


def undoing(spine: Spine) -> tuple[UUID, UUID]:
    """A run that failed after its child had ended, and waits for the child to be undone."""
    child = spine.plan({"x": [], "y": ["x"]}, undo=["x"], on_failure=False)
    run = spine.declare(spine.plan({"call": [], "z": ["call"]}, calls={"call": child}, undo=["call"]))
    begun = spine.call_child(run, "call", {"n": 1})
    assert begun.child is not None
    end(spine, begun.child)
    spine.tell(begun.child)
    spine.send(run)
    assert spine.perform(run, "z", "failed", error={"code": "broken"}).run_state == "compensating"
    with spine.app.tenant(spine.tenant) as connection:
        again = nesting.start_undo(connection, spine.tenant, run, "undo-call")
        assert nesting.start_undo(connection, spine.tenant, run, "undo-call").verdict == "lost"
    assert again == nesting.Begun("again", begun.child, False)
    return run, begun.child


def test_a_child_that_has_ended_is_undone_with_its_parent_whoever_dies_between(spine: Spine) -> None:
    run, child = undoing(spine)
    assert due(spine, run) == ["undo"], "what a crash leaves undone"
    assert send_again(spine, child) is True
    assert send_again(spine, child) is False, "once"
    assert due(spine, run) == []
    assert (spine.run(child)["state"], spine.step(child, "x")["state"]) == ("compensating", "compensating")
    spine.send(child)
    assert spine.perform(child, "undo-x").run_state == "cancelled"
    assert send_again(spine, child) is False, "nor when it has ended by that"
    assert due(spine, run) == ["tell"]
    assert spine.tell(child).parent == run
    assert (spine.run(run)["state"], spine.run(run)["compensation"]) == ("failed", "complete")
    assert spine.step(run, "call")["state"] == "compensated"
    assert spine.run(child)["finished_at"] is not None


def test_a_run_undone_with_its_child_begins_another_child_when_it_is_retried(spine: Spine) -> None:
    run, child = undoing(spine)
    send_again(spine, child)
    spine.send(child)
    spine.perform(child, "undo-x")
    spine.tell(child)
    assert steer(spine, run, "retry") == "ok"
    again = spine.call_child(run, "call", {"n": 1})
    assert again.verdict == "begun" and again.child != child


def test_another_spec_makes_another_child(spine: Spine) -> None:
    run, child = family(spine)
    end(spine, child, "failed")
    spine.tell(child)
    steer(spine, run, "retry")
    again = spine.call_child(run, "call", {"n": 2})
    assert again.verdict == "begun" and again.child != child
    assert due(spine, run) == []
    rounds = "SELECT parent_try, spec FROM runs WHERE parent_run_id = %s ORDER BY 1"
    assert spine.admin.call(rounds, (run,)) == [(1, {"n": 1}), (2, {"n": 2})]


def test_a_late_word_of_an_earlier_round_changes_nothing(spine: Spine) -> None:
    run, child = family(spine)
    end(spine, child, "failed")
    spine.tell(child)
    steer(spine, run, "retry")
    spine.call_child(run, "call", {"n": 2})
    assert spine.tell(child) == nesting.Told(None, False)
    assert spine.step(run, "call")["state"] == "waiting"


def test_a_cancelled_parent_waits_for_its_children(spine: Spine) -> None:
    run, child = family(spine)
    spine.send(child)
    tries = spine.claim(child, "x").tries
    assert steer(spine, run, "cancel", "enough") == "ok"
    assert spine.run(run)["state"] == "cancelling"
    assert due(spine, run) == ["cancel"]
    assert steer(spine, child, "cancel", "enough") == "ok"
    assert due(spine, run) == [], "cancelling already"
    spine.finish(child, "x", tries, "cancelled", error={"code": "cancelled"})
    assert spine.tell(child).parent == run
    assert (spine.run(run)["state"], spine.step(run, "call")["state"]) == ("cancelled", "cancelled")


def test_a_skipped_step_leaves_a_child_that_is_due_to_be_cancelled(spine: Spine) -> None:
    run, child = family(spine)
    with spine.app.tenant(spine.tenant) as connection:
        assert runs.skip_step(connection, spine.tenant, run, "call", ACTOR, None, "not needed")[0] == "ok"
    assert due(spine, run) == ["cancel"]
    spine.send(run)
    assert spine.perform(run, "z").run_state == "succeeded"
    assert steer(spine, child, "cancel", None) == "ok"
    assert spine.tell(child) == nesting.Told(None, False)
    assert spine.run(run)["state"] == "succeeded"
    intent = spine.admin.call("SELECT phase FROM intents WHERE id = %s", (spine.run(run)["intent_id"],))
    assert intent == [("succeeded",)]


def test_a_child_rests_and_goes_on_with_its_parent(spine: Spine) -> None:
    run, child = family(spine)
    steer(spine, run, "pause", None)
    assert (spine.run(run)["state"], due(spine, run)) == ("paused", ["pause"])
    with spine.app.tenant(spine.tenant) as connection:
        runs.pause_run(connection, spine.tenant, child, RECOVERY, None, None)
        nesting.note_paused_by_parent(connection, spine.tenant, child)
    assert due(spine, run) == []
    assert steer(spine, child, "resume") == "parent_paused"
    assert steer(spine, run, "resume") == "ok"
    assert due(spine, run) == ["resume"]
    assert steer(spine, child, "resume") == "ok"
    assert steer(spine, child, "pause", "by hand") == "ok"
    assert due(spine, run) == [], "who was paused by hand stays paused"


def test_a_child_that_ends_while_its_parent_is_paused_is_heard(spine: Spine) -> None:
    run, child = family(spine)
    spine.send(child)
    steer(spine, run, "pause", None)
    for key in ("x", "y"):
        spine.perform(child, key)
        spine.send(child)
    told = spine.tell(child)
    assert (told.parent, told.needs_advance) == (run, False)
    assert (spine.run(run)["state"], spine.step(run, "z")["state"]) == ("paused", "ready")


def test_the_depth_is_bounded(spine: Spine) -> None:
    run = spine.declare(spine.plan({"call": []}, calls={"call": spine.plan({"x": []})}))
    assert spine.call_child(run, "call", deepest=0).verdict == "too_deep"
    assert spine.step(run, "call")["state"] == "ready", "its caller fails the step"


def test_items_are_children_within_their_places(spine: Spine) -> None:
    child = spine.plan({"x": [], "y": ["x"]})
    plan = spine.plan({"f": [], "z": ["f"]}, fans=["f"], calls={"f": child}, parallel={"f": 2})
    run = spine.declare(plan)
    spine.expand(run, "f", [1, 2, 3])
    first, second = (spine.call_child(run, f"f.{n}").child for n in (0, 1))
    assert spine.call_child(run, "f.2").verdict == "lost", "it has no place"
    assert first is not None and second is not None
    end(spine, second)
    assert spine.tell(second, {"n": 2}) == nesting.Told(run, True)
    third = spine.call_child(run, "f.2").child
    assert third is not None
    end(spine, first, "failed")
    spine.tell(first)
    end(spine, third)
    spine.tell(third, {"n": 3})
    assert (spine.run(run)["state"], spine.step(run, "f")["error"]["code"]) == ("failed", "items_failed")
    steer(spine, run, "retry")
    assert spine.call_child(run, "f.0").verdict == "again"
    send_again(spine, first)
    end(spine, first)
    assert spine.tell(first, {"n": 1}).needs_advance is True
    spine.send(run)
    assert spine.claim(run, "z").context["steps"]["f"]["output"] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_recovery_lists_what_is_due_across_tenants(spine: Spine) -> None:
    run, child = family(spine)
    end(spine, child)
    found = {one.run.run_id: one.what for one in nesting.children_due(spine.system, 1000)}
    assert found[child] == "tell"
    spine.tell(child)
    assert child not in {one.run.run_id for one in nesting.children_due(spine.system, 1000)}
    assert spine.run(run)["state"] == "running"


def test_of_many_items_that_are_runs_some_come_with_what_decides_them(spine: Spine) -> None:
    child = spine.plan({"a": []})
    run = spine.declare(spine.plan({"f": []}, fans=["f"], calls={"f": child}))
    spine.expand(run, "f", list(range(120)))
    with spine.app.tenant(spine.tenant) as connection:
        found = hot.ready_steps(connection, spine.tenant, run, 1000)
    assert found is not None
    assert len(found.steps) == 120
    decidable = [step.item for step in found.steps if step.definition is not None]
    assert decidable == list(range(50)), "each may look at megabytes, and few begin at once"


def test_children_of_one_tenant_keep_nobody_elses_from_recovery(spine: Spine) -> None:
    crowd = [family(spine)[1] for _ in range(3)]
    neighbour, spine.tenant = spine.tenant, spine.new_tenant()
    theirs = family(spine)[1]
    end(spine, theirs)
    spine.tenant = neighbour
    for child in crowd:
        end(spine, child)
    tenants = spine.admin.call("SELECT count(DISTINCT tenant_id) FROM runs WHERE parent_run_id IS NOT NULL")
    found = {one.run.run_id for one in nesting.children_due(spine.system, tenants[0][0])}
    assert theirs in found
    assert not set(crowd) <= found
