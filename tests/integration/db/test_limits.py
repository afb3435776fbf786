"""Deadlines of runs, queue time limits: each run past one ends failed, whoever comes first."""

from __future__ import annotations

from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import runs, waits, workers
from app.db.ids import new_id
from app.domain.leases import Child, Lease
from tests.support.spine import ACTOR, BROKER, Race, Spine, ask
from tests.support.waiting import eventually

CLAIM = "SELECT verdict FROM claim_step(%s, %s, %s, 1, %s, 1, 1, 'w')"
FIRE = "SELECT count(*) FROM fire_limits(100)"
HOUR = 3600.0


def start(spine: Spine, graph: dict[str, list[str]], **limits: float) -> UUID:
    """Declare a run with these limits, its steps as good as sent."""
    carriers = {base: seq for seq, base in enumerate(graph)}
    return spine.declare(spine.plan(graph, carriers=carriers), broker=BROKER, limits=limits)


def overtake(spine: Spine, run: UUID, column: str = "deadline_at") -> None:
    """Let the limit of the run have passed."""
    spine.admin.call(
        f"UPDATE runs SET {column} = clock_timestamp(), due_at = clock_timestamp() WHERE id = %s", (run,)
    )


def fire(spine: Spine, run: UUID, column: str = "deadline_at") -> None:
    overtake(spine, run, column)
    assert run in [one.run.run_id for one in waits.fire_limits(spine.system, 1000)]


def call(spine: Spine, action: Any, run: UUID, *arguments: Any) -> str:
    with spine.app.tenant(spine.tenant) as connection:
        verdict: str = action(connection, spine.tenant, run, ACTOR, None, *arguments)[0]
        return verdict


def codes(spine: Spine, run: UUID) -> dict[str, str]:
    rows = spine.admin.call("SELECT key, error ->> 'code' FROM run_steps WHERE run_id = %s", (run,))
    return {key: code for key, code in rows if code is not None}


def test_a_run_past_its_deadline_fails_a_retry_has_as_long_again(spine: Spine) -> None:
    run = start(spine, {"a": [], "b": ["a"], "c": ["b"]}, deadline_s=HOUR)
    spine.perform(run, "a")
    fire(spine, run)
    found = spine.run(run)
    assert (found["state"], found["error"]["code"]) == ("failed", "deadline_exceeded")
    assert (found["open_steps"], found["due_at"]) == (0, None)
    assert spine.states(run) == {"a": "succeeded", "b": "cancelled", "c": "cancelled"}
    assert codes(spine, run) == dict.fromkeys("bc", "deadline_exceeded")
    assert call(spine, runs.retry_run, run) == "ok"
    again = spine.run(run)
    assert again["deadline_at"] > found["finished_at"]
    assert again["due_at"] == again["deadline_at"]
    spine.send(run)
    spine.perform(run, "b")
    spine.send(run)
    spine.perform(run, "c")
    assert spine.run(run)["state"] == "succeeded"
    assert spine.run(run)["due_at"] is None, "what has ended is in no list"


def test_running_steps_are_stopped_before_the_run_fails(spine: Spine) -> None:
    run = start(spine, {"a": [], "b": ["a"]}, deadline_s=HOUR)
    claim, lease = spine.claim(run, "a", lease=(held := Lease(uuid4(), Child(7, 7), "w"))), held
    fire(spine, run)
    assert (spine.run(run)["state"], spine.run(run)["due_at"]) == ("cancelling", None)
    told = workers.beat(spine.system, lease.boot, "w", 1, "1", ("default",), [lease.child])
    assert [(step.run_id, step.key) for step in told] == [(run, "a")]
    spine.finish(run, "a", claim.tries, "cancelled", error={"code": "cancelled"})
    assert (spine.run(run)["state"], spine.run(run)["error"]["code"]) == ("failed", "deadline_exceeded")
    assert codes(spine, run) == dict.fromkeys("ab", "deadline_exceeded")
    assert spine.events(run) == ["run.started", "run.failed"]
    assert call(spine, runs.retry_run, run) == "ok"
    assert spine.states(run) == {"a": "ready", "b": "pending"}


def test_a_step_that_ends_well_after_the_deadline_is_kept_by_the_retry(spine: Spine) -> None:
    run = start(spine, {"a": []}, deadline_s=HOUR)
    claim = spine.claim(run, "a")
    fire(spine, run)
    spine.finish(run, "a", claim.tries)
    assert spine.run(run)["state"] == "failed"
    assert call(spine, runs.retry_run, run) == "ok"
    assert spine.run(run)["state"] == "succeeded"


def test_a_run_that_nobody_begins_in_time_fails_without_having_started(spine: Spine) -> None:
    run = start(spine, {"a": []}, queue_timeout_s=HOUR, deadline_s=2 * HOUR)
    fire(spine, run, "begin_by")
    found = spine.run(run)
    assert (found["state"], found["error"]["code"], found["started_at"]) == ("failed", "queue_timeout", None)
    assert spine.events(run) == ["run.failed"]
    assert spine.claim(run, "a", 1).verdict == "lost"
    assert call(spine, runs.retry_run, run) == "ok"
    assert spine.run(run)["begin_by"] is None, "a retried run is under way"


def test_a_run_that_has_begun_has_only_its_deadline(spine: Spine) -> None:
    run = start(spine, {"a": []}, queue_timeout_s=HOUR, deadline_s=2 * HOUR)
    claim = spine.claim(run, "a")
    fire(spine, run, "begin_by")
    found = spine.run(run)
    assert (found["state"], found["due_at"]) == ("running", found["deadline_at"])
    spine.finish(run, "a", claim.tries)
    assert spine.run(run)["state"] == "succeeded"


@pytest.mark.parametrize("moment", ["paused", "failed", "succeeded", "cancelled"])
def test_a_pause_does_not_stop_the_clock_an_end_does(spine: Spine, moment: str) -> None:
    run = start(spine, {"a": [], "b": ["a"]}, deadline_s=HOUR)
    if moment == "paused":
        assert call(spine, runs.pause_run, run, "lunch") == "ok"
    elif moment == "cancelled":
        assert call(spine, runs.cancel_run, run, "no need") == "ok"
    else:
        spine.perform(run, "a", moment, error={"code": "x"} if moment == "failed" else None)
        if moment == "succeeded":
            spine.perform(run, "b")
    fire(spine, run)
    wanted = "failed" if moment == "paused" else moment
    assert spine.run(run)["state"] == wanted
    assert (spine.run(run)["error"] or {}).get("code") == {
        "paused": "deadline_exceeded",
        "failed": "steps_failed",
        "cancelled": "cancelled",
    }.get(moment)
    assert spine.run(run)["due_at"] is None


def test_a_deadline_waits_for_no_lock_and_the_claim_it_meets_is_stopped(spine: Spine) -> None:
    run = start(spine, {"a": [], "b": []}, deadline_s=HOUR)
    spine.perform(run, "b")
    overtake(spine, run)
    with spine.session() as claims, spine.session(spine.urls.system) as timers:
        assert ask(claims, CLAIM, spine.tenant, run, "a", str(uuid4())) == ("claimed",)
        race = Race(timers, partial(ask, timers, FIRE))
        spine.wait_blocked(race)
        claims.commit()
        race.result()
        timers.commit()
    assert spine.states(run) == {"a": "running", "b": "succeeded"}
    assert spine.run(run)["state"] == "cancelling"


def test_a_locked_run_waits_for_the_next_look(spine: Spine) -> None:
    run, other = (start(spine, {"a": []}, deadline_s=HOUR) for _ in range(2))
    overtake(spine, run)
    overtake(spine, other)
    with spine.session() as holder:
        ask(holder, "SELECT 1 FROM runs WHERE id = %s FOR UPDATE", run)
        waits.fire_limits(spine.system, 100)
        assert (spine.run(run)["state"], spine.run(other)["state"]) == ("queued", "failed")
        holder.rollback()
    waits.fire_limits(spine.system, 100)
    assert spine.run(run)["state"] == "failed"


def test_a_rerun_has_the_same_limits(spine: Spine) -> None:
    run, new = start(spine, {"a": []}, deadline_s=HOUR, queue_timeout_s=60.0), new_id()
    spine.perform(run, "a")
    with spine.app.tenant(spine.tenant) as connection:
        assert runs.rerun_run(connection, spine.tenant, run, ACTOR, None, new, None)[0] == "ok"
    found = spine.run(new)
    assert (found["deadline_s"], found["queue_timeout_s"]) == (HOUR, 60.0)
    assert found["due_at"] == found["begin_by"] < found["deadline_at"]


def test_a_run_without_limits_is_in_no_list(spine: Spine) -> None:
    found = spine.run(start(spine, {"a": []}))
    assert (found["deadline_at"], found["begin_by"], found["due_at"]) == (None, None, None)
    lines = spine.system.call(
        "EXPLAIN SELECT 1 FROM runs o WHERE o.due_at <= clock_timestamp() ORDER BY o.due_at LIMIT 500"
    )
    assert any("runs_due" in line for (line,) in lines), lines


@pytest.mark.scale
def test_ten_thousand_deadlines_due_at_once_end_within_ten_seconds(spine: Spine) -> None:
    plan = spine.plan({"a": [], "b": ["a"]})
    due = [spine.declare(plan, limits={"deadline_s": HOUR}) for _ in range(10_000)]
    spine.admin.call(
        "UPDATE runs SET deadline_at = clock_timestamp(), due_at = clock_timestamp()"
        " WHERE id = ANY (%s::uuid[])",
        (due,),
    )
    eventually(lambda: len(waits.fire_limits(spine.system, 500)) == 0, within=30.0, what="all runs end")
    late = spine.admin.call(
        "SELECT count(*), max(finished_at - deadline_at) < interval '10 seconds'"
        " FROM runs WHERE id = ANY (%s::uuid[]) AND state = 'failed'",
        (due,),
    )
    assert late == [(10_000, True)]
