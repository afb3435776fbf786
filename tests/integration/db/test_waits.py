"""Waits in PostgreSQL: timers, signals, approvals, each ended once whoever comes first."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2.extras import Json

from app.db import hot, runs, waits
from app.domain.leases import RunRef
from app.domain.waits import Waiting
from app.services.timers import fire_due
from tests.support.spine import ACTOR, Race, Spine, ask
from tests.support.waiting import eventually

PLAIN = {"signal": "go"}
VOTE = {"signal": "go", "approvers": {"roles": ["operator"], "count": 2}}
FIRE = "SELECT count(*) FROM fire_timers(100)"


def begin(spine: Spine, wait: dict[str, Any], **times: Any) -> UUID:
    """Start a run whose first step waits, `next` after it."""
    run = spine.declare(spine.plan({"hold": [], "next": ["hold"]}, waits={"hold": wait}))
    resume(spine, run, wait, **times)
    return run


def resume(spine: Spine, run: UUID, wait: dict[str, Any], **times: Any) -> bool:
    with spine.app.tenant(spine.tenant) as connection:
        return waits.begin_wait(connection, spine.tenant, run, "hold", Waiting(wait, **times))


def send(spine: Spine, run: UUID, payload: Any = None) -> waits.Told:
    with spine.app.tenant(spine.tenant) as connection:
        return waits.send_signal(connection, spine.tenant, run, ACTOR, "go", payload)


def vote(
    spine: Spine, run: UUID, user: UUID, decision: str = "approve", reason: str | None = None
) -> waits.Told:
    with spine.app.tenant(spine.tenant) as connection:
        actor = {**ACTOR, "user_id": str(user)}
        return waits.cast_vote(connection, spine.tenant, run, actor, "go", decision, reason)


def fire(spine: Spine) -> list[waits.Fired]:
    return waits.fire_timers(spine.system, 1000)


def test_a_timer_ends_its_step_when_due_not_before(spine: Spine) -> None:
    run = begin(spine, {"for": "PT1H"}, seconds=3600)
    assert spine.states(run) == {"hold": "waiting", "next": "pending"}
    assert spine.run(run)["state"] == "running"
    assert fire(spine) == []
    spine.admin.call("UPDATE run_steps SET not_before = clock_timestamp() WHERE run_id = %s", (run,))
    assert [(one.run.run_id, one.needs_advance) for one in fire(spine)] == [(run, True)]
    assert spine.states(run) == {"hold": "succeeded", "next": "ready"}
    assert spine.step(run, "hold")["output"].keys() == {"due", "at"}
    assert fire(spine) == [], "redelivered ticks change nothing"


def test_a_time_that_has_passed_is_not_waited_for(spine: Spine) -> None:
    run = spine.declare(spine.plan({"hold": []}, waits={"hold": {"for": "PT0S"}}))
    assert resume(spine, run, {"for": "PT0S"}, seconds=0.0) is False
    assert spine.run(run)["state"] == "succeeded"
    assert resume(spine, run, {"for": "PT0S"}, seconds=0.0) is False, "a second decision changes nothing"


def test_a_wait_whose_condition_is_false_is_skipped(spine: Spine) -> None:
    run = spine.declare(spine.plan({"hold": [], "next": ["hold"]}, waits={"hold": PLAIN}))
    with spine.app.tenant(spine.tenant) as connection:
        assert waits.begin_wait(connection, spine.tenant, run, "hold", None) is True
    assert spine.states(run) == {"hold": "skipped", "next": "ready"}


def test_signals_are_consumed_once_in_order_also_early_ones(spine: Spine) -> None:
    plan = spine.plan({"hold": [], "again": ["hold"]}, waits={"hold": PLAIN, "again": PLAIN})
    run = spine.declare(plan)
    assert send(spine, run, {"n": 1}).step is None
    assert send(spine, run, {"n": 2}).step is None
    resume(spine, run, PLAIN)
    output = spine.step(run, "hold")["output"]
    assert output["payload"] == {"n": 1}
    assert output["by"]["email"] == ACTOR["email"]
    with spine.app.tenant(spine.tenant) as connection:
        waits.begin_wait(connection, spine.tenant, run, "again", Waiting(PLAIN))
    assert spine.step(run, "again")["output"]["payload"] == {"n": 2}
    assert spine.run(run)["state"] == "succeeded"
    assert send(spine, run).verdict == "illegal", "an ended run takes no signals"
    assert send(spine, uuid4()).verdict == "not_found"


def test_a_signal_that_does_not_come_fails_its_step(spine: Spine) -> None:
    run = begin(spine, PLAIN, seconds=0.0)
    assert spine.states(run) == {"hold": "waiting", "next": "pending"}
    assert [one.run.run_id for one in fire(spine)] == [run]
    assert spine.step(run, "hold")["error"]["code"] == "signal_timeout"
    assert spine.run(run)["state"] == "failed"
    with spine.app.tenant(spine.tenant) as connection:
        assert runs.retry_run(connection, spine.tenant, run, ACTOR, None)[0] == "ok"
    resume(spine, run, PLAIN, seconds=60.0)
    assert send(spine, run).step == "hold", "the next round waits for a signal of its own"


def test_the_last_approval_ends_the_step_a_user_counts_once(spine: Spine) -> None:
    run, ann, bob = begin(spine, VOTE), uuid4(), uuid4()
    assert vote(spine, run, ann, reason="fine").verdict == "ok"
    assert vote(spine, run, ann, "reject").verdict == "voted"
    assert spine.states(run)["hold"] == "waiting"
    told = vote(spine, run, bob)
    assert (told.step, told.needs_advance) == ("hold", True)
    decisions = spine.step(run, "hold")["output"]["decisions"]
    assert [(one["decision"], one["reason"], one["by"]["user_id"]) for one in decisions] == [
        ("approve", "fine", str(ann)),
        ("approve", None, str(bob)),
    ]
    assert vote(spine, run, uuid4()).verdict == "not_waiting"
    assert spine.events(run) == ["run.started", "step.waiting", "run.signalled", "run.signalled"]
    audited = spine.admin.call(
        "SELECT action, detail ->> 'reason' FROM audit_records"
        " WHERE subject = %s AND action LIKE 'run.%%' ORDER BY id",
        (f"runs/{run}",),
    )
    assert audited == [("run.approve", "fine"), ("run.approve", None)]


def test_one_rejection_fails_the_step_a_retry_asks_everybody_again(spine: Spine) -> None:
    run, ann = begin(spine, VOTE), uuid4()
    vote(spine, run, ann)
    assert vote(spine, run, uuid4(), "reject", "not today").run_state == "failed"
    error = spine.step(run, "hold")["error"]
    assert (error["code"], error["message"]) == ("rejected", "not today")
    with spine.app.tenant(spine.tenant) as connection:
        runs.retry_run(connection, spine.tenant, run, ACTOR, None)
    resume(spine, run, VOTE)
    assert vote(spine, run, ann).verdict == "ok"
    assert spine.states(run)["hold"] == "waiting", "decisions of an earlier round do not count"


def test_two_approvals_at_once_count_both(spine: Spine) -> None:
    run, barrier = begin(spine, VOTE), threading.Barrier(2)
    told: list[waits.Told] = []

    def decide() -> None:
        barrier.wait()
        told.append(vote(spine, run, uuid4()))

    threads = [threading.Thread(target=decide) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(one.needs_advance for one in told) == [False, True]
    assert spine.states(run)["hold"] == "succeeded"


def test_a_vote_waits_for_the_one_before_it(spine: Spine) -> None:
    run = begin(spine, VOTE)
    cast = "SELECT verdict, needs_advance FROM cast_vote(%s, %s, %s, 'go', 'approve', NULL)"
    actors = [Json({**ACTOR, "user_id": str(uuid4())}) for _ in range(2)]
    with spine.session() as one, spine.session() as two:
        assert ask(one, cast, spine.tenant, run, actors[0]) == ("ok", False)
        race = Race(two, partial(ask, two, cast, spine.tenant, run, actors[1]))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("ok", True)
        two.commit()
    assert spine.states(run)["hold"] == "succeeded"


def test_a_time_out_that_waits_for_a_signal_finds_the_step_ended(spine: Spine) -> None:
    run = begin(spine, PLAIN, seconds=0.0)
    signal = "SELECT verdict, step FROM send_signal(%s, %s, '{}', 'go', '1')"
    with spine.session() as one, spine.session(spine.urls.system) as two:
        assert ask(one, signal, spine.tenant, run) == ("ok", "hold")
        assert ask(two, FIRE) == (0,), "a locked run is passed over"
        two.commit()
        one.commit()
        assert ask(two, FIRE) == (0,)
    assert spine.step(run, "hold")["output"]["payload"] == 1


def test_a_signal_that_waits_for_a_time_out_finds_the_run_ended(spine: Spine) -> None:
    run = begin(spine, PLAIN, seconds=0.0)
    signal = "SELECT verdict, step FROM send_signal(%s, %s, '{}', 'go', '1')"
    with spine.session(spine.urls.system) as one, spine.session() as two:
        assert ask(one, FIRE) == (1,)
        race = Race(two, partial(ask, two, signal, spine.tenant, run))
        spine.wait_blocked(race)
        one.commit()
        assert race.result() == ("illegal", None)
        two.commit()
    assert spine.step(run, "hold")["error"]["code"] == "signal_timeout"


def test_cancel_ends_a_waiting_run_at_once(spine: Spine) -> None:
    run = begin(spine, PLAIN, seconds=0.0)
    with spine.app.tenant(spine.tenant) as connection:
        runs.cancel_run(connection, spine.tenant, run, ACTOR, None, None)
    assert spine.run(run)["state"] == "cancelled"
    assert fire(spine) == []
    assert send(spine, run).verdict == "illegal"


def test_a_wait_is_sent_to_nobody(spine: Spine) -> None:
    run = spine.declare(spine.plan({"hold": []}, waits={"hold": PLAIN}))
    with spine.app.tenant(spine.tenant) as connection:
        ready = hot.ready_steps(connection, spine.tenant, run, 10)
    assert ready is not None
    assert ready.steps[0].definition["wait"] == PLAIN
    assert spine.claim(run, "hold", epoch=0).verdict == "lost"


def test_two_hundred_timers_due_at_once_end_within_a_second(spine: Spine) -> None:
    plan = spine.plan({"hold": [], "next": ["hold"]}, waits={"hold": {"for": "PT1S"}})
    due = [spine.declare(plan) for _ in range(200)]
    for run in due:
        resume(spine, run, {"for": "PT1H"}, seconds=3600)
    spine.admin.call(
        "UPDATE run_steps SET not_before = clock_timestamp()"
        " WHERE run_id = ANY (%s::uuid[]) AND state = 'waiting'",
        (due,),
    )
    assert len(fire(spine)) == 200
    late = spine.admin.call(
        "SELECT max(finished_at - (output ->> 'due')::timestamptz) < interval '1 second' FROM run_steps"
        " WHERE run_id = ANY (%s::uuid[]) AND key = 'hold'",
        (due,),
    )
    assert late == [(True,)]


def test_a_timer_that_cannot_be_ended_does_not_keep_the_others(spine: Spine) -> None:
    bad, good = (begin(spine, {"for": "PT1H"}, seconds=3600.0) for _ in range(2))
    spine.admin.call(
        "UPDATE run_steps SET needs_left = 0 WHERE run_id = %s AND key = 'next' RETURNING 1", (bad,)
    )
    past = "UPDATE run_steps SET not_before = now() WHERE run_id IN (%s, %s) AND key = 'hold' RETURNING 1"
    spine.admin.call(past, (bad, good))
    assert RunRef(spine.tenant, good) in fire_due(spine.system)
    assert spine.states(good) == {"hold": "succeeded", "next": "ready"}
    put_off = (
        "SELECT state, not_before > now() + interval '50 s' FROM run_steps WHERE run_id = %s AND key = 'hold'"
    )
    assert spine.admin.call(put_off, (bad,)) == [("waiting", True)]
    spine.admin.call(
        "UPDATE run_steps SET needs_left = 1 WHERE run_id = %s AND key = 'next' RETURNING 1", (bad,)
    )


@pytest.mark.scale
def test_ten_thousand_timers_due_at_once_end_within_five_seconds(spine: Spine) -> None:
    plan = spine.plan({"hold": [], "next": ["hold"]}, waits={"hold": {"for": "PT1S"}})
    due = [spine.declare(plan) for _ in range(10_000)]
    spine.admin.call(
        "SELECT count(begin_wait(tenant_id, id, 'hold', '{\"for\": \"PT1H\"}', 3600, NULL)) FROM runs"
        " WHERE id = ANY (%s::uuid[])",
        (due,),
    )
    spine.admin.call("UPDATE run_steps SET not_before = clock_timestamp() WHERE state = 'waiting'")

    def drained() -> bool:
        return len(waits.fire_timers(spine.system, 500)) == 0

    eventually(drained, within=30.0, what="all timers fire")
    late = spine.admin.call(
        "SELECT count(*), max(finished_at - (output ->> 'due')::timestamptz) < interval '5 seconds'"
        " FROM run_steps WHERE run_id = ANY (%s::uuid[]) AND key = 'hold' AND state = 'succeeded'",
        (due,),
    )
    assert late == [(10_000, True)]
