"""Steering by hand: pause, resume, skip, retry from a step, rerun, on the real SQL functions."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import dead_letters, recovery, runs
from app.db.ids import new_id
from app.domain.leases import RunRef
from app.domain.paging import PageRequest
from tests.support.spine import ACTOR, BROKER, LEASE, Race, Spine, ask

CLAIM = "SELECT verdict FROM claim_step(%s, %s, %s, 1, %s, 1, 1, 'w')"
PAUSE = "SELECT pause_run(%s, %s, '{}', NULL, NULL)"
SKIP = "SELECT skip_step(%s, %s, %s, '{}', NULL, 'no need')"
FAULT = {"code": "x"}


def steer(spine: Spine, action: Any, run: UUID, *arguments: Any, tenant: UUID | None = None) -> str:
    """Call a store as the tenant; return its verdict."""
    tenant = tenant or spine.tenant
    with spine.app.tenant(tenant) as connection:
        verdict: str = action(connection, tenant, run, *arguments)[0]
        return verdict


def pause(spine: Spine, run: UUID, version: int | None = None) -> str:
    return steer(spine, runs.pause_run, run, ACTOR, version, "lunch")


def resume(spine: Spine, run: UUID) -> str:
    return steer(spine, runs.resume_run, run, ACTOR, None)


def skip(spine: Spine, run: UUID, key: str) -> str:
    return steer(spine, runs.skip_step, run, key, ACTOR, None, "no need")


def retry(spine: Spine, run: UUID, key: str | None = None) -> str:
    return steer(spine, runs.retry_run, run, ACTOR, None, key)


def rerun(spine: Spine, run: UUID, spec: tuple[Any, str] | None = None) -> tuple[str, UUID]:
    new = new_id()
    return steer(spine, runs.rerun_run, run, ACTOR, None, new, spec), new


def intent(spine: Spine, run: UUID) -> tuple[Any, ...]:
    """Return the generation, observed generation, phase of the run's intent."""
    query = (
        "SELECT generation, observed_generation, phase FROM intents"
        " WHERE id = (SELECT intent_id FROM runs WHERE id = %s)"
    )
    return tuple(spine.admin.call(query, (run,))[0])


def actions(spine: Spine, run: UUID) -> list[str]:
    rows = spine.admin.call(
        "SELECT action FROM audit_records WHERE subject = %s ORDER BY id", (f"runs/{run}",)
    )
    return [row[0] for row in rows]


def test_pause_lets_running_steps_end_then_holds_all_until_the_resume(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "c": []})
    tries = spine.claim(run, "a").tries
    assert pause(spine, run) == pause(spine, run) == "ok"
    assert spine.run(run)["state"] == "pausing"
    assert spine.claim(run, "c").verdict == "lost", "its message is void"
    finish = spine.finish(run, "a", tries)
    assert (finish.run_state, finish.needs_advance) == ("paused", False)
    assert spine.states(run) == {"a": "succeeded", "b": "ready", "c": "ready"}
    assert spine.claim(run, "b").verdict == "lost"
    assert spine.send(run) == {}, "advance finds nothing to send"
    mine = RunRef(spine.tenant, run)
    assert mine not in recovery.unsent_runs(spine.system, 1000, 0)
    assert resume(spine, run) == resume(spine, run) == "ok"
    assert mine in recovery.unsent_runs(spine.system, 1000, 0)
    assert spine.send(run) == {"b": 2, "c": 2}
    spine.perform(run, "b")
    assert spine.perform(run, "c").run_state == "succeeded"
    assert spine.events(run) == ["run.started", "run.paused", "run.resumed", "run.succeeded"]
    assert actions(spine, run) == ["run.pause", "run.resume"]


def test_pause_of_a_queued_run_keeps_it_from_starting(spine: Spine) -> None:
    run = spine.start({"a": []})
    assert pause(spine, run, 99) == "conflict"
    assert pause(spine, run, 1) == "ok"
    assert spine.run(run)["state"] == "paused"
    assert spine.claim(run, "a").verdict == "lost"
    assert resume(spine, run) == "ok"
    assert spine.run(run)["state"] == "queued"
    spine.send(run)
    assert spine.perform(run, "a").run_state == "succeeded"
    assert spine.events(run) == ["run.paused", "run.resumed", "run.started", "run.succeeded"]
    assert pause(spine, run) == resume(spine, run) == "illegal"
    assert pause(spine, uuid4()) == "not_found"


def test_retry_that_comes_due_while_paused_waits_for_the_resume(spine: Spine) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    pause(spine, run)
    assert spine.finish(run, "a", tries, "retry", error=FAULT, retry_in_s=0).run_state == "paused"
    mine = RunRef(spine.tenant, run)
    assert mine not in recovery.due_waits(spine.system, 100)
    resume(spine, run)
    assert mine in recovery.due_waits(spine.system, 100)
    assert spine.states(run) == {"a": "ready"}


def test_killed_step_comes_to_rest_in_a_pause(spine: Spine) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries
    pause(spine, run)
    finish = spine.finish(run, "a", tries, "killed", error=FAULT)
    assert (finish.run_state, finish.needs_advance) == ("paused", False)
    assert spine.states(run) == {"a": "ready"}


@pytest.mark.parametrize("running", [True, False])
def test_paused_run_can_be_cancelled_or_end(spine: Spine, running: bool) -> None:
    run = spine.start({"a": []})
    tries = spine.claim(run, "a").tries if running else 0
    pause(spine, run)
    assert steer(spine, runs.cancel_run, run, ACTOR, None, None) == "ok"
    assert spine.run(run)["state"] == ("cancelling" if running else "cancelled")
    if running:
        assert spine.finish(run, "a", tries).run_state == "cancelled"
        other = spine.start({"a": []})
        tries = spine.claim(other, "a").tries
        pause(spine, other)
        assert spine.finish(other, "a", tries).run_state == "succeeded", "the last step settles a pausing run"


def test_claim_that_loses_against_a_pause(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    spine.perform(run, "b")
    with spine.session() as one, spine.session() as two:
        assert ask(one, PAUSE, spine.tenant, run) == ("ok",)
        race = Race(two, partial(ask, two, CLAIM, spine.tenant, run, "a", LEASE.boot))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("lost",)
        two.commit()
    assert (spine.run(run)["state"], spine.states(run)["a"]) == ("paused", "ready")


def test_pause_sees_a_claim_that_commits_while_it_waits(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    spine.perform(run, "b")
    with spine.session() as one, spine.session() as two:
        assert ask(one, CLAIM, spine.tenant, run, "a", LEASE.boot) == ("claimed",)
        race = Race(two, partial(ask, two, PAUSE, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("ok",)
        two.commit()
    assert spine.run(run)["state"] == "pausing", "a paused run has no running step"


def test_skip_sees_a_claim_that_commits_while_it_waits(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    spine.perform(run, "b")
    with spine.session() as one, spine.session() as two:
        ask(one, CLAIM, spine.tenant, run, "a", LEASE.boot)
        race = Race(two, partial(ask, two, SKIP, spine.tenant, run, "a"))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("illegal_step",)
        two.commit()


def test_skip_of_steps_that_have_not_begun(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "c": ["b"], "d": ["a", "c"]})
    assert skip(spine, run, "b") == skip(spine, run, "b") == "ok"
    assert spine.states(run) == {"a": "ready", "b": "skipped", "c": "ready", "d": "pending"}
    assert spine.step(run, "b")["error"] == {"code": "skipped", "message": "no need", "by": ACTOR["email"]}
    assert spine.run(run)["state"] == "running"
    spine.perform(run, "a", "failed", error=FAULT)
    assert spine.states(run)["c"] == "ready", (
        "what lies behind the skipped step no longer needs the failed one"
    )
    assert skip(spine, run, "d") == "illegal_step"
    assert skip(spine, run, "nobody") == "no_step"
    assert spine.perform(run, "c").run_state == "failed"
    assert spine.events(run) == ["run.started", "step.skipped", "step.failed", "run.failed"]
    assert actions(spine, run) == ["step.skip"]


def test_skipped_step_does_not_carry_its_dependants(spine: Spine) -> None:
    carriers = dict.fromkeys("abc", 1)
    run = spine.declare(spine.plan({"a": [], "b": ["a"], "c": ["b"]}, carriers=carriers), broker=BROKER)
    spine.claim(run, "a")
    skip(spine, run, "b")
    assert spine.send(run) == {"c": 2}, "it need not wait for the message of the step before"


def test_skip_of_the_last_step_settles_even_a_paused_run(spine: Spine) -> None:
    run = spine.start({"a": []})
    pause(spine, run)
    assert skip(spine, run, "a") == "ok"
    assert spine.run(run)["state"] == "succeeded"


def test_skip_of_a_failed_step_lets_the_run_go_on(spine: Spine) -> None:
    run = spine.start({"a": [], "b": [], "after": ["a"], "both": ["a", "b"]})
    spine.perform(run, "a", "failed", error=FAULT)
    spine.perform(run, "b", "failed", error=FAULT)
    assert skip(spine, run, "a") == "ok"
    assert spine.states(run) == {"a": "skipped", "b": "failed", "after": "ready", "both": "cancelled"}
    spine.send(run)
    assert spine.perform(run, "after").run_state == "failed"
    assert skip(spine, run, "b") == "ok"
    assert spine.states(run)["both"] == "ready"
    spine.send(run)
    assert spine.perform(run, "both").run_state == "succeeded"


def test_skip_of_a_failed_item_closes_its_fan(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"]))
    spine.expand(run, "f", [1, 2])
    assert skip(spine, run, "f") == "illegal_step", "its items have begun"
    spine.send(run)
    spine.perform(run, "f.0", output=1)
    spine.perform(run, "f.1", "failed", error=FAULT)
    assert skip(spine, run, "f.1") == "ok"
    assert spine.states(run) == {"f": "succeeded", "f.0": "succeeded", "f.1": "skipped", "join": "ready"}
    claim = spine.claim(run, "join", spine.send(run)["join"])
    assert claim.context["steps"]["f"]["output"] == [1, None]
    assert spine.finish(run, "join", claim.tries).run_state == "succeeded"


def test_retry_from_a_step_runs_it_with_all_behind_it(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "f": ["b"], "c": ["b"], "end": ["f"]}, fans=["f"])
    for key in ("a", "b", "c"):
        spine.perform(run, key)
    spine.expand(run, "f", [1, 2, 3])
    spine.send(run)
    for key in ("f.0", "f.1", "f.2"):
        spine.perform(run, key, output=key)
    spine.perform(run, "end", "failed", error=FAULT)
    assert retry(spine, run, "nobody") == "no_step"
    assert retry(spine, run, "b") == "ok"
    assert spine.states(run) == {
        "a": "succeeded",
        "b": "ready",
        "c": "pending",
        "end": "pending",
        "f": "pending",
        "f.0": "cancelled",
        "f.1": "cancelled",
        "f.2": "cancelled",
    }
    spine.send(run)
    spine.perform(run, "b")
    spine.expand(run, "f", ["x"])
    assert spine.step(run, "f.0")["item_value"] == "x"
    spine.send(run)
    claim = spine.claim(run, "f.0")
    assert (claim.tries, claim.attempt, claim.round) == (2, 1, 1)
    spine.finish(run, "f.0", claim.tries, output="again")
    spine.perform(run, "c")
    end = spine.claim(run, "end", spine.send(run)["end"])
    assert end.context["steps"]["f"]["output"] == ["again"], "retired items have no part in the fan"
    assert spine.finish(run, "end", end.tries).run_state == "succeeded"
    assert retry(spine, run, "b") == "illegal", "what succeeded is history"


def test_retry_from_a_step_leaves_other_failures_alone(spine: Spine) -> None:
    run = spine.start({"a": [], "b": [], "after": ["a"], "both": ["a", "b"]})
    for key in ("a", "b"):
        spine.perform(run, key, "failed", error=FAULT)
    assert retry(spine, run, "both") == "held_back"
    assert retry(spine, run, "a") == "ok"
    assert spine.states(run) == {"a": "ready", "b": "failed", "after": "pending", "both": "cancelled"}
    spine.send(run)
    spine.perform(run, "a")
    spine.send(run)
    assert spine.perform(run, "after").run_state == "failed"


def test_rerun_makes_a_new_run_of_the_same_plan(spine: Spine) -> None:
    run = spine.start({"a": []})
    assert rerun(spine, run)[0] == "illegal"
    spine.perform(run, "a", "failed", error=FAULT)
    verdict, second = rerun(spine, run)
    assert (verdict, intent(spine, run)) == ("ok", (1, 1, "pending"))
    assert rerun(spine, run)[0] == retry(spine, run) == skip(spine, run, "a") == "occupied"
    spine.send(second)
    spine.perform(second, "a")
    assert intent(spine, run) == (1, 1, "succeeded")
    verdict, third = rerun(spine, second, ({"x": 2}, "other"))
    assert (verdict, intent(spine, run)) == ("ok", (2, 1, "pending"))
    claim = spine.claim(third, "a", spine.send(third)["a"])
    assert claim.context["spec"] == {"x": 2}
    spine.finish(third, "a", claim.tries)
    assert intent(spine, run) == (2, 2, "succeeded")
    rerun(spine, second)
    assert intent(spine, run) == (3, 2, "pending"), "an earlier spec is declared again"
    assert spine.events(run)[-1] == "run.rerun"
    assert actions(spine, second) == ["run.rerun", "run.rerun"]
    plans = spine.admin.call(
        "SELECT DISTINCT plan_hash FROM runs WHERE id = ANY(%s)", ([run, second, third],)
    )
    assert len(plans) == 1


def test_two_reruns_of_one_run(spine: Spine) -> None:
    run = spine.start({"a": []})
    spine.perform(run, "a")
    again = "SELECT rerun_run(%s, %s, '{}', NULL, gen_random_uuid(), NULL, NULL)"
    with spine.session() as one, spine.session() as two:
        assert ask(one, again, spine.tenant, run) == ("ok",)
        race = Race(two, partial(ask, two, again, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("occupied",)
        two.commit()


def test_a_rerun_waits_for_its_key_before_it_holds_its_run(spine: Spine) -> None:
    run = spine.declare(spine.plan({"a": []}), broker=BROKER, concurrency={"key": "k", "limit": 1})
    spine.send(run)
    spine.perform(run, "a")
    again = "SELECT rerun_run(%s, %s, '{}', NULL, gen_random_uuid(), NULL, NULL)"
    with spine.session() as holder, spine.session() as other:
        ask(holder, "SELECT 1 FROM concurrency_keys WHERE key = 'k' FOR NO KEY UPDATE")
        race = Race(other, partial(ask, other, again, spine.tenant, run))
        spine.wait_blocked(race)
        # Who holds the key may cancel the run, as cancel_oldest does, and must not wait for who waits for it.
        ask(holder, "SELECT 1 FROM runs WHERE id = %s FOR NO KEY UPDATE NOWAIT", run)
        holder.commit()
        assert race.result() == ("ok",)
        other.commit()


def test_dead_letters_of_a_tenant_page_by_page(spine: Spine) -> None:
    neighbour, spine.tenant = spine.tenant, spine.new_tenant()
    made = []
    for _ in range(3):
        run = spine.start({"a": [], "lenient": []}, lenient=["lenient"])
        spine.perform(run, "lenient", "failed", error=FAULT)
        spine.perform(run, "a", "retry", error={"code": "first"}, retry_in_s=0)
        recovery.due_waits(spine.system, 100)
        spine.send(run)
        spine.perform(run, "a", "failed", error={"code": "second"})
        made.append(run)
    with spine.app.tenant(spine.tenant) as connection:
        first = dead_letters.page(connection, spine.tenant, PageRequest(2))
        rest = dead_letters.page(connection, spine.tenant, PageRequest(2, first.next_cursor))
        assert [item["run_id"] for item in (*first.items, *rest.items)] == made[::-1]
        assert {item["key"] for item in (*first.items, *rest.items)} == {"a"}
        assert rest.next_cursor is None
        letter = dead_letters.find(connection, spine.tenant, made[0], "a")
        assert letter is not None
        assert [each["error"]["code"] for each in letter["attempts"]] == ["first", "second"]
        assert dead_letters.find(connection, spine.tenant, made[0], "lenient") is None
    with spine.app.tenant(neighbour) as connection:
        assert dead_letters.page(connection, spine.tenant, PageRequest(2)).items == ()
    for action in (runs.pause_run, runs.skip_step, runs.rerun_run, runs.retry_run):
        arguments = {
            runs.pause_run: (ACTOR, None, None),
            runs.skip_step: ("a", ACTOR, None, "x"),
            runs.rerun_run: (ACTOR, None, new_id(), None),
            runs.retry_run: (ACTOR, None),
        }[action]
        assert steer(spine, action, made[0], *arguments, tenant=neighbour) == "not_found"
