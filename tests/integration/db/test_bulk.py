"""Bulk actions on real rows: what is frozen, what is done once, what stops it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db import bulk as store
from app.db.prune import Pruner
from app.domain.bulk import MOST_PER_SECOND
from app.domain.errors import IllegalState, InvalidInput, PreconditionFailed, Unavailable
from app.services import run_bulk
from app.services.bulk_actions import steer_bulk_action
from app.services.retry_run import retry_run
from tests.support.bulk import Bulk
from tests.support.spine import BROKER, Race, Spine, ask


@pytest.fixture
def bulk(spine: Spine) -> Bulk:
    """A tenant of this test alone; what other tests left is stopped."""
    spine.admin.call("UPDATE bulk_actions SET state = 'cancelled' WHERE state IN ('running', 'paused')")
    spine.tenant = spine.new_tenant()
    return Bulk(spine)


def failed(spine: Spine, number: int, code: str = "x", **options: Any) -> list[UUID]:
    """Make runs of one step that failed, the oldest first."""
    plan = spine.plan({"a": []}, carriers={"a": 0})
    made = [spine.declare(plan, broker=BROKER, **options) for _ in range(number)]
    for run in made:
        spine.perform(run, "a", "failed", error={"code": code})
    return sorted(made)


def test_what_is_frozen_is_retried_once_in_its_maker_s_name(bulk: Bulk) -> None:
    spine = bulk.spine
    one, two, three = failed(spine, 3)
    made = bulk.make("retry")
    assert (made.matched, made.total, made.done, made.state) == (3, 3, 0, "running")
    assert [item["run_id"] for item in made.sample] == [one, two, three]
    late = failed(spine, 1)[0]
    # Another operator is first with one of them; it fails again before its turn comes.
    retry_run(bulk.deps, bulk.actor, two)
    spine.send(two)
    spine.perform(two, "a", "failed", error={"code": "y"})
    assert bulk.turn() == 3
    assert [item[2:] for item in bulk.outcomes(made)] == [
        ("ok", None),
        ("conflict", "precondition_failed"),
        ("ok", None),
    ]
    assert [spine.run(run)["round"] for run in (one, two, three, late)] == [1, 1, 1, 0]
    done = bulk.show(made)
    assert (done.state, done.done, dict(done.counts)) == ("finished", 3, {"ok": 2, "conflict": 1})
    assert done.finished_at is not None
    assert bulk.turn() == 0
    assert bulk.events(made) == ["bulk.started", "bulk.finished"]
    ((actor,),) = spine.admin.call(
        "SELECT actor FROM audit_records WHERE subject = %s AND action = 'run.retry'", (f"runs/{one}",)
    )
    assert (actor["email"], actor["via"]) == ("ann@example.org", f"bulk-actions/{made.id}")
    audit = spine.admin.call(
        "SELECT action, detail FROM audit_records WHERE subject = %s ORDER BY id",
        (f"bulk-actions/{made.id}",),
    )
    assert [row[0] for row in audit] == ["bulk.create", "bulk.finish"]
    assert audit[0][1]["reason"] == "because it is so"
    assert audit[1][1]["counts"] == {"ok": 2, "conflict": 1}


def test_each_action_does_what_the_single_one_does(bulk: Bulk) -> None:
    spine = bulk.spine
    plan = spine.plan({"a": []}, carriers={"a": 0})
    run = spine.declare(plan, broker=BROKER)
    for action, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        made = bulk.make(action)
        bulk.turn()
        assert [item[2] for item in bulk.outcomes(made)] == ["ok"], action
        assert spine.run(run)["state"] == state
    made = bulk.make("rerun")
    bulk.turn()
    ((new,),) = spine.admin.call("SELECT new_run_id FROM bulk_action_items WHERE bulk_id = %s", (made.id,))
    assert spine.run(new)["intent_id"] == spine.run(run)["intent_id"]


def test_what_refuses_an_item_is_its_outcome(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    spine = bulk.spine
    running = spine.declare(spine.plan({"a": []}, carriers={"a": 0}), broker=BROKER)
    made = bulk.make("cancel")
    spine.perform(running, "a")
    bulk.turn()
    assert [item[2:] for item in bulk.outcomes(made)] == [("illegal", "illegal_state")]
    runs = failed(spine, 2)
    made = bulk.make("retry")
    spine.admin.call("UPDATE bulk_action_items SET run_id = %s WHERE run_id = %s", (uuid4(), runs[0]))
    retry = run_bulk.retry_run

    def stumble(deps: Any, actor: Any, run: UUID, *more: Any, **options: Any) -> Any:
        if run == runs[1]:
            raise RuntimeError("nobody foresaw this")
        return retry(deps, actor, run, *more, **options)

    monkeypatch.setattr(run_bulk, "retry_run", stumble)
    bulk.turn()
    assert [item[2:] for item in bulk.outcomes(made)] == [("not_found", "not_found"), ("error", "internal")]
    assert bulk.show(made).state == "finished"


def test_an_item_is_acted_on_and_settled_in_one_commit(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    spine = bulk.spine
    runs = failed(spine, 2)
    made = bulk.make("retry")
    settle, calls = store.settle_item, [0]

    def die(*arguments: Any, **options: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise Unavailable("database")  # as when the server goes away before the commit
        settle(*arguments, **options)

    monkeypatch.setattr(run_bulk.bulk, "settle_item", die)
    with pytest.raises(Unavailable):
        bulk.turn()
    assert [spine.run(run)["round"] for run in runs] == [1, 0], "without its outcome it was not done"
    assert [item[2] for item in bulk.outcomes(made)] == ["ok", "pending"]
    bulk.later(made, 60)
    assert bulk.turn("another") == 1, "the lease of the first has run out"
    assert [spine.run(run)["round"] for run in runs] == [1, 1]
    assert bulk.show(made).state == "finished"


def test_one_executor_at_a_time_and_a_late_one_does_nothing(bulk: Bulk) -> None:
    spine = bulk.spine
    failed(spine, 3)
    made = bulk.make("retry", rate=1)
    assert bulk.turn("one") == 1
    bulk.later(made, 2)
    assert bulk.turn("two") == 0, "the lease is another's"
    bulk.later(made, 60)
    (batch,) = store.lease(spine.system, "two", 30, 9, 9)
    with spine.app.tenant(spine.tenant) as connection:
        assert not store.claim_item(connection, spine.tenant, made.id, 2, "one")
        assert store.claim_item(connection, spine.tenant, made.id, 2, "two")
        with spine.app.tenant(spine.tenant) as other:
            assert not store.claim_item(other, spine.tenant, made.id, 2, "two"), "never waits"
        store.settle_item(connection, spine.tenant, batch.id, 2, "ok")
    with spine.app.tenant(spine.tenant) as connection:
        assert not store.claim_item(connection, spine.tenant, made.id, 2, "two"), "it is done"
    with pytest.raises(IllegalState), spine.app.tenant(spine.tenant) as connection:
        store.settle_item(connection, spine.tenant, batch.id, 2, "ok")


def test_the_rate_is_kept(bulk: Bulk) -> None:
    spine = bulk.spine
    failed(spine, 5)
    slow = bulk.make("retry", rate=0.01)
    assert bulk.turn() == 1
    bulk.later(slow, 60)
    assert bulk.turn() == 0, "the next is due after a hundred seconds"
    bulk.later(slow, 60)
    assert bulk.turn() == 1
    steer_bulk_action(spine.app, bulk.actor, slow.id, "cancel")
    made = bulk.make("retry", rate=8)
    bulk.later(made, 600)
    ((before,),) = spine.admin.call("SELECT clock_timestamp()")
    assert bulk.turn() == 2, "a quarter of a second's worth"
    ((next_at,),) = spine.admin.call("SELECT next_at FROM bulk_actions WHERE id = %s", (made.id,))
    assert next_at - before >= timedelta(seconds=-0.75), "one second is saved up at most"


def test_work_is_not_made_faster_than_it_is_done(bulk: Bulk, monkeypatch: pytest.MonkeyPatch) -> None:
    spine = bulk.spine
    monkeypatch.setattr(run_bulk, "MOST_WAITING", 3)
    runs = failed(spine, 2)
    for _ in range(3):
        spine.start({"a": []})
    made = bulk.make("retry", rate=0.01)
    assert bulk.turn() == 0
    assert bulk.outcomes(made)[0][:3] == (runs[0], None, "pending")
    stopped = bulk.make("cancel")
    assert bulk.turn() == 3, "what makes no work is done all the same"
    assert bulk.show(stopped).state == "finished"
    bulk.later(made, 200)
    assert bulk.turn() == 1


def test_pause_resume_cancel(bulk: Bulk) -> None:
    spine = bulk.spine
    runs = failed(spine, 3)
    made = bulk.make("retry", rate=0.01)
    bulk.turn()
    with pytest.raises(PreconditionFailed):
        steer_bulk_action(spine.app, bulk.actor, made.id, "pause", 9)
    paused = steer_bulk_action(spine.app, bulk.actor, made.id, "pause", 1)
    again = steer_bulk_action(spine.app, bulk.actor, made.id, "pause")
    assert (paused.state, paused.version, again.version) == ("paused", 2, 2)
    bulk.later(made, 200)
    assert bulk.turn() == 0
    assert steer_bulk_action(spine.app, bulk.actor, made.id, "resume").state == "running"
    assert bulk.turn() == 1
    ended = steer_bulk_action(spine.app, bulk.actor, made.id, "cancel")
    assert (ended.state, ended.done, ended.finished_at is None) == ("cancelled", 2, False)
    bulk.later(made, 200)
    assert bulk.turn() == 0
    assert [spine.run(run)["round"] for run in runs] == [1, 1, 0]
    with pytest.raises(IllegalState):
        steer_bulk_action(spine.app, bulk.actor, made.id, "resume")
    assert bulk.events(made) == [f"bulk.{event}" for event in ("started", "paused", "resumed", "cancelled")]


def test_a_cancel_waits_for_the_item_at_hand(bulk: Bulk) -> None:
    spine = bulk.spine
    failed(spine, 2)
    made = bulk.make("retry", rate=1)
    store.lease(spine.system, "one", 30, 9, 9)
    with spine.session() as acting, spine.session() as steering:
        assert ask(acting, "SELECT claim_bulk_item(%s, %s, 1, 'one')", spine.tenant, made.id) == (True,)
        race = Race(
            steering,
            lambda: ask(steering, "SELECT steer_bulk(%s, %s, '{}', NULL, 'cancel')", spine.tenant, made.id),
        )
        spine.wait_blocked(race)
        ask(acting, "SELECT settle_bulk_item(%s, %s, 1, 'ok', NULL, NULL)", spine.tenant, made.id)
        acting.commit()
        assert race.result() == ("ok",)
        steering.commit()
    with spine.app.tenant(spine.tenant) as connection:
        assert not store.claim_item(connection, spine.tenant, made.id, 2, "one")
    assert (bulk.show(made).state, bulk.show(made).done) == ("cancelled", 1)


def test_filters(bulk: Bulk) -> None:
    spine = bulk.spine
    mine = failed(spine, 2, "disk_full", labels={"team": "x"})
    others = failed(spine, 1, "timeout", labels={"team": "y"})
    count = lambda action, **wanted: bulk.make(action, **wanted).total  # noqa: E731 - said a dozen times
    assert count("retry", label="team=x") == 2
    assert count("retry", label="team") == 3
    assert count("retry", error_code="timeout") == 1
    assert count("retry", error_code="steps_failed") == 3, "the run's own code"
    assert count("retry", type="other") == 0
    assert count("retry", workflow="w") == 3
    assert count("retry", workflow="w@2") == 0
    assert count("rerun", state="succeeded") == 0
    limited = bulk.make("retry", limit=1)
    assert (limited.matched, limited.total) == (3, 1)
    assert [item[0] for item in bulk.outcomes(limited)] == [min(mine + others)]
    empty = bulk.make("pause")
    assert (empty.state, empty.total, bulk.events(empty)) == (
        "finished",
        0,
        ["bulk.started", "bulk.finished"],
    )
    with pytest.raises(InvalidInput, match="retry is for runs that are failed"):
        bulk.make("retry", state="running")


def test_dead_letters_of_one_run_go_together_or_one_by_one(bulk: Bulk) -> None:
    spine = bulk.spine
    run = spine.start({"a": [], "b": [], "c": ["a", "b"], "d": []}, lenient=["d"])
    for key, code in (("a", "x"), ("b", "y"), ("d", "x")):
        spine.perform(run, key, "failed", error={"code": code})
    alone = bulk.make("replay-dead-letters", error_code="y")
    assert [item[:3] for item in bulk.outcomes(alone)] == [(run, "b", "pending")]
    steer_bulk_action(spine.app, bulk.actor, alone.id, "cancel")
    together = bulk.make("replay-dead-letters")
    assert [item[:3] for item in bulk.outcomes(together)] == [(run, None, "pending")]
    bulk.turn()
    assert spine.states(run) == {"a": "ready", "b": "ready", "c": "pending", "d": "failed"}


def test_another_tenant_s_runs_are_not_found(bulk: Bulk) -> None:
    spine = bulk.spine
    failed(spine, 1)
    mine, spine.tenant = spine.tenant, spine.new_tenant()
    assert bulk.make("retry").total == 0
    spine.tenant = mine
    assert bulk.make("retry").total == 1


def test_old_ones_are_pruned_with_their_items(bulk: Bulk) -> None:
    spine = bulk.spine
    failed(spine, 3)
    ended, open_one = bulk.make("retry"), bulk.make("rerun", rate=MOST_PER_SECOND)
    steer_bulk_action(spine.app, bulk.actor, ended.id, "cancel")
    spine.admin.call(
        "UPDATE bulk_actions SET finished_at = finished_at - interval '2 days' WHERE id = %s", (ended.id,)
    )
    pruner = Pruner(spine.system)
    assert pruner.delete("bulk_actions", 86_400, 100) == 0, "not before its items"
    assert [pruner.delete("bulk_action_items", 86_400, 2) for _ in range(3)] == [2, 1, 0]
    assert pruner.delete("bulk_actions", 86_400, 100) == 1
    left = spine.admin.call("SELECT id FROM bulk_actions WHERE tenant_id = %s", (spine.tenant,))
    assert left == [(open_one.id,)]
