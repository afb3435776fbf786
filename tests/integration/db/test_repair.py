"""Repair: what operators do, what recovery gives back, what was never sent."""

from __future__ import annotations

from uuid import uuid4

from app.db import recovery, runs, workers
from app.db.engine import Connection
from app.domain.leases import Child, Lease, RunRef
from tests.support.spine import ACTOR, BROKER, LEASE, Spine
from tests.support.waiting import eventually


def retry(spine: Spine, run: object, version: int | None = None) -> str:
    with spine.app.tenant(spine.tenant) as connection:
        return runs.retry_run(connection, spine.tenant, run, ACTOR, version)[0]


def cancel(connection: Connection, spine: Spine, run: object, version: int | None = None) -> str:
    return runs.cancel_run(connection, spine.tenant, run, ACTOR, version, "no need")[0]


def test_retry_runs_only_what_failed_or_never_ran(spine: Spine) -> None:
    run = spine.start(
        {"ok": [], "bad": [], "accepted": [], "join": ["ok", "bad"], "end": ["join"]}, lenient=["accepted"]
    )
    spine.perform(run, "ok", output=1)
    spine.perform(run, "accepted", "failed", error={"code": "x"})
    assert spine.perform(run, "bad", "failed", error={"code": "x"}).run_state == "failed"
    assert retry(spine, run) == "ok"
    assert spine.states(run) == {
        "ok": "succeeded",
        "accepted": "failed",
        "bad": "ready",
        "join": "pending",
        "end": "pending",
    }
    assert spine.claim(run, "bad", epoch=1).verdict == "lost", "nothing of the first round can claim"
    assert spine.send(run) == {"bad": 2}
    claim = spine.claim(run, "bad")
    assert (claim.tries, claim.attempt, claim.round) == (2, 1, 1)
    spine.finish(run, "bad", claim.tries)
    for key in ("join", "end"):
        spine.send(run)
        finish = spine.perform(run, key)
    assert finish.run_state == "succeeded"
    assert spine.events(run)[-2:] == ["run.retried", "run.succeeded"]
    audited = spine.admin.call(
        "SELECT action, actor ->> 'email' FROM audit_records WHERE subject = %s", (f"runs/{run}",)
    )
    assert audited == [("run.retry", ACTOR["email"])]


def test_retry_of_a_fan_runs_its_failed_items_alone(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": [], "join": ["f"]}, fans=["f"]))
    spine.expand(run, "f", [1, 2, 3])
    spine.send(run)
    spine.perform(run, "f.0", output=1)
    spine.perform(run, "f.1", "failed", error={"code": "x"})
    assert spine.perform(run, "f.2", output=3).run_state == "failed"
    assert retry(spine, run) == "ok"
    assert spine.states(run) == {
        "f": "waiting",
        "f.0": "succeeded",
        "f.1": "ready",
        "f.2": "succeeded",
        "join": "pending",
    }
    spine.send(run)
    spine.perform(run, "f.1", output=2)
    claim = spine.claim(run, "join", spine.send(run)["join"])
    assert claim.context["steps"]["f"]["output"] == [1, 2, 3]
    assert spine.finish(run, "join", claim.tries).run_state == "succeeded"


def test_retry_of_a_failed_decision_decides_anew(spine: Spine) -> None:
    run = spine.declare(spine.plan({"f": []}, fans=["f"]))
    spine.app.call("SELECT fail_decision(%s, %s, 'f', '{}')", (spine.tenant, run))
    assert retry(spine, run) == "ok"
    assert spine.expand(run, "f", [1]) is True


def test_retry_and_cancel_refuse(spine: Spine) -> None:
    run = spine.start({"a": []})
    assert retry(spine, run) == "illegal"
    assert retry(spine, uuid4()) == "not_found"
    with spine.app.tenant(spine.tenant) as connection:
        assert cancel(connection, spine, run, version=99) == "conflict"
        assert cancel(connection, spine, run, version=1) == "ok"
        assert cancel(connection, spine, run) == "illegal"
    assert retry(spine, run) == "illegal"
    assert spine.run(run)["error"] == {"code": "cancelled", "reason": "no need"}


def test_cancelling_run_ends_with_its_last_running_step(spine: Spine) -> None:
    run = spine.start({"a": [], "b": ["a"], "c": []})
    tries = spine.claim(run, "a").tries
    with spine.app.tenant(spine.tenant) as connection:
        assert cancel(connection, spine, run) == "ok"
        assert cancel(connection, spine, run) == "ok"
    held = workers.beat(spine.system, LEASE.boot, "h", 1, "1", ["default"], [LEASE.child])
    assert [(step.run_id, step.key, step.child) for step in held] == [(run, "a", LEASE.child)]
    assert spine.finish(run, "a", tries, "retry", retry_in_s=5).run_state == "cancelled"
    assert set(spine.states(run).values()) == {"cancelled"}
    assert spine.events(run) == ["run.started", "run.cancelled"]


def test_release_of_a_child_touches_no_other(spine: Spine) -> None:
    run = spine.start({"a": [], "b": []})
    dead = Lease(uuid4(), Child(9, 1), "w")
    successor = Lease(dead.boot, Child(9, 2), "w")
    spine.claim(run, "a", lease=dead)
    spine.claim(run, "b", lease=successor)
    assert workers.release_child(spine.system, dead.boot, dead.child) == [RunRef(spine.tenant, run)]
    assert spine.states(run) == {"a": "ready", "b": "running"}
    assert workers.release_child(spine.system, dead.boot, dead.child) == []


def test_nobody_is_dead_before_heartbeats_could_arrive(spine: Spine) -> None:
    run = spine.start({"a": []})
    silent = Lease(uuid4(), Child(7, 7), "silent")
    spine.claim(run, "a", lease=silent)
    workers.beat(spine.system, silent.boot, "h", 1, "1", ["default"], [silent.child])
    spine.admin.call(
        "UPDATE workers SET seen_at = clock_timestamp() - interval '1 minute' WHERE boot = %s", (silent.boot,)
    )
    spine.admin.call(
        "UPDATE run_steps SET started_at = started_at - interval '1 minute' WHERE run_id = %s", (run,)
    )
    # The database was away: the gap between two ticks is longer than heartbeats may fall out.
    recovery.release_dead(spine.system, 2, 3)
    set_clock(spine, ticked="30 s", steady="1 hour")
    assert recovery.release_dead(spine.system, 2, 3) == []
    assert recovery.release_dead(spine.system, 2, 3) == [], "the next tick is no gap, but not enough time"
    assert spine.states(run) == {"a": "running"}
    # The database has answered for long enough, so the silence is the worker's own.
    eventually(
        lambda: spine.admin.call("SELECT clock_timestamp() - pg_postmaster_start_time() > interval '6 s'")[0][
            0
        ]
    )
    set_clock(spine, ticked="3 s", steady="7 s")
    assert RunRef(spine.tenant, run) in recovery.release_dead(spine.system, 2, 3)
    assert spine.states(run) == {"a": "ready"}
    assert spine.step(run, "a")["kills"] == 1


def test_heartbeats_keep_the_clock_while_beat_is_late(spine: Spine) -> None:
    recovery.release_dead(spine.system, 2, 3)
    set_clock(spine, ticked="3 s", steady="1 hour")
    workers.beat(spine.system, uuid4(), "h", 1, "1", ["default"], [])
    fresh = "SELECT clock_timestamp() - ticked_at < interval '1 s' FROM platform_clock"
    assert spine.admin.call(fresh) == [(True,)]


def set_clock(spine: Spine, *, ticked: str, steady: str) -> None:
    spine.admin.call(
        "UPDATE platform_clock SET ticked_at = clock_timestamp() - %s::interval,"
        " steady_since = clock_timestamp() - %s::interval",
        (ticked, steady),
    )


def test_lost_message_is_unmarked_with_its_canvas(spine: Spine) -> None:
    run = spine.declare(
        spine.plan({"a": [], "b": ["a"]}, carriers={"a": 1, "b": 1}, queue="q"), broker=BROKER
    )
    old = "ready_at = ready_at - interval '1 minute', sent_at = sent_at - interval '1 minute'"
    spine.admin.call(f"UPDATE run_steps SET {old} WHERE run_id = %s", (run,))
    assert not [c for c in recovery.candidates_lost(spine.system, 100) if c.run_id == run and c.overtaken]
    later = spine.start({"z": []}, queue="q")
    spine.claim(later, "z")
    found = [c for c in recovery.candidates_lost(spine.system, 100) if c.run_id == run]
    assert [(c.key, c.epoch, c.queue, c.broker_epoch, c.overtaken) for c in found] == [
        ("a", 1, "q", BROKER, True)
    ]
    assert recovery.mark_lost(spine.system, found) == [RunRef(spine.tenant, run)]
    assert [spine.step(run, key)["sent_at"] for key in "ab"] == [None, None]
    assert spine.send(run) == {"a": 2}
    assert recovery.mark_lost(spine.system, found) == [], "somebody has marked it anew"


def test_unsent_runs_are_listed_after_a_while(spine: Spine) -> None:
    run = spine.declare(spine.plan({"a": []}))
    mine = RunRef(spine.tenant, run)
    assert mine not in recovery.unsent_runs(spine.system, 1000, 60)
    assert mine in recovery.unsent_runs(spine.system, 1000, 0)
    spine.send(run)
    assert mine not in recovery.unsent_runs(spine.system, 1000, 0)
