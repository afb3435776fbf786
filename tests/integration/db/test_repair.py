"""Repair: what operators do, what recovery gives back, what was never sent."""

from __future__ import annotations

from uuid import UUID, uuid4

from app.db import hot, lots, recovery, runs, workers
from app.db.engine import Connection
from app.db.ids import new_id
from app.domain.leases import Child, Lease, Lot, RunRef
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


def grow_old(spine: Spine, *runs: UUID) -> None:
    """Act as if these steps had become ready, and been sent, a minute before."""
    old = "ready_at = ready_at - interval '1 minute', sent_at = sent_at - interval '1 minute'"
    spine.admin.call(f"UPDATE run_steps SET {old} WHERE run_id = ANY(%s)", (list(runs),))


def overtaken(spine: Spine, run: UUID) -> list[bool]:
    return [one.overtaken for one in recovery.candidates_lost(spine.system, 1000) if one.run_id == run]


def test_what_goes_on_within_its_process_overtakes_nobody_in_the_queue(spine: Spine) -> None:
    waiting, chain = spine.start({"a": []}, queue="slow"), spine.start({"a": [], "b": ["a"]}, queue="slow")
    grow_old(spine, waiting, chain)
    first = spine.claim(chain, "a")
    message, ahead = spine.message(chain, "a"), spine.message(chain, "b")
    claim = hot.finish_and_claim(spine.app, message, first.tries, "succeeded", ahead, LEASE)[1]
    assert claim is not None
    assert claim.verdict == "claimed"
    assert overtaken(spine, waiting) == [False], "b never stood in the queue"
    fan = spine.declare(spine.plan({"f": []}, fans=["f"], parallel={"f": 1}, queue="slow"))
    spine.expand(fan, "f", [1, 2])
    lot = Lot(spine.tenant, fan, new_id())
    with spine.app.tenant(spine.tenant) as connection:
        place = {"f.0": hot.Place(lot.id, False)}
        hot.mark_sent(connection, spine.tenant, fan, ["f.0"], [7], BROKER, place)
    grow_old(spine, fan)
    tries = spine.claim(fan, "f.0").tries
    taken = lots.finish_and_take(spine.app, spine.message(fan, "f.0"), tries, "succeeded", lot, LEASE)[1]
    assert taken is not None
    assert taken.message.key == "f.1"
    assert overtaken(spine, waiting) == [False], "nor did f.1"


def test_the_message_that_a_lot_goes_on_with_begins_to_wait_when_it_is_sent(spine: Spine) -> None:
    run = spine.declare(spine.plan({"a": [], "b": []}, queue="shared"))
    lot = Lot(spine.tenant, run, new_id())
    with spine.app.tenant(spine.tenant) as connection:
        dealt = {"a": hot.Place(lot.id, False), "b": hot.Place(lot.id, True)}
        hot.mark_sent(connection, spine.tenant, run, ["a", "b"], [7, 7], BROKER, dealt)
    grow_old(spine, run)
    spine.perform(run, "a")
    onward = lots.pass_on(spine.app, lot)
    assert onward is not None
    assert onward.message.key == "b"
    spine.claim(spine.start({"z": []}, queue="shared"), "z")
    recovery.candidates_lost(spine.system, 1)  # it notes how far the queue has come
    spine.admin.call("UPDATE run_steps SET sent_at = sent_at - interval '5 s' WHERE run_id = %s", (run,))
    assert overtaken(spine, run) == [False]


def test_what_waits_in_one_queue_hides_no_lost_message_of_another(spine: Spine) -> None:
    crowd = [spine.start({"a": []}, queue="without-workers") for _ in range(4)]
    other = spine.start({"a": []}, queue="elsewhere")
    grow_old(spine, *crowd)
    neighbour, spine.tenant = spine.tenant, spine.new_tenant()
    theirs = spine.start({"a": []}, queue="without-workers")
    spine.admin.call(
        "UPDATE run_steps SET ready_at = ready_at - interval '9 s', sent_at = sent_at - interval '9 s'"
        " WHERE run_id = ANY(%s)",
        ([other, theirs],),
    )
    places = spine.admin.call(
        "SELECT count(DISTINCT (tenant_id, queue)) FROM run_steps"
        " WHERE state = 'ready' AND sent_at < clock_timestamp() - interval '3 s'"
    )[0][0]
    found = {one.run_id for one in recovery.candidates_lost(spine.system, places)}
    assert {other, theirs, crowd[0]} <= found
    assert not found & set(crowd[1:])
    spine.tenant = neighbour


def test_runs_of_one_tenant_that_cannot_be_sent_keep_nobody_from_it(spine: Spine) -> None:
    stuck = [spine.declare(spine.plan({"a": []})) for _ in range(3)]
    grow_old(spine, *stuck)
    neighbour, spine.tenant = spine.tenant, spine.new_tenant()
    mine = RunRef(spine.tenant, spine.declare(spine.plan({"a": []})))
    tenants = spine.admin.call(
        "SELECT count(DISTINCT tenant_id) FROM run_steps WHERE state = 'ready' AND sent_at IS NULL"
    )[0][0]
    assert mine in recovery.unsent_runs(spine.system, tenants, 0)
    spine.tenant = neighbour


def test_unsent_runs_are_listed_after_a_while(spine: Spine) -> None:
    run = spine.declare(spine.plan({"a": []}))
    mine = RunRef(spine.tenant, run)
    assert mine not in recovery.unsent_runs(spine.system, 1000, 60)
    assert mine in recovery.unsent_runs(spine.system, 1000, 0)
    spine.send(run)
    assert mine not in recovery.unsent_runs(spine.system, 1000, 0)
