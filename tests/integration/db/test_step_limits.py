"""The limit of steps at once: exact under eight admitters, woken by what ends, leaked by nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import UUID

import pytest

from app.db import hot, limits, recovery, workers
from app.domain.identity import Actor
from app.domain.leases import RunRef
from app.services.manage_limits import change_limits
from tests.integration.db.test_admission import at_once
from tests.support.spine import ACTOR, BROKER, LEASE, Race, Spine, ask

WIDE: dict[str, Sequence[str]] = {f"s{number}": [] for number in range(10)}
READY = "SELECT key FROM ready_steps(%s, %s, 100) WHERE key IS NOT NULL"


@pytest.fixture
def limited(spine: Spine) -> Iterator[Spine]:
    """A tenant of its own that may have three steps at once."""
    before, spine.tenant = spine.tenant, spine.new_tenant()
    limit(spine, 3)
    yield spine
    spine.tenant = before


def limit(spine: Spine, steps: int | None, tenant: UUID | None = None) -> None:
    with spine.system.system() as connection:
        limits.lock(connection, tenant or spine.tenant)
        limits.change(connection, tenant or spine.tenant, limits.Limits(max_running_steps=steps))


def taken(spine: Spine) -> int:
    rows = spine.admin.call(
        "SELECT count(*) FROM run_steps WHERE tenant_id = %s"
        " AND (state = 'running' OR state = 'ready' AND sent_at IS NOT NULL)",
        (spine.tenant,),
    )
    return int(rows[0][0])


def ready(spine: Spine, run: UUID) -> hot.Ready | None:
    with spine.app.tenant(spine.tenant) as connection:
        return hot.ready_steps(connection, spine.tenant, run, 100)


def test_the_second_who_asks_waits_for_the_first(limited: Spine) -> None:
    one, two = limited.start(WIDE), limited.start(WIDE)
    with limited.session() as first, limited.session() as second:
        assert ask(first, READY, str(limited.tenant), str(one)) == ("s0",)
        race = Race(second, lambda: ask(second, READY, str(limited.tenant), str(two)))
        limited.wait_blocked(race)
        first.rollback()
        assert race.result() == ("s0",)


def test_eight_admitters_at_a_barrier_never_exceed_the_limit(limited: Spine) -> None:
    runs = [limited.start(WIDE) for _ in range(8)]
    for _ in range(3):
        at_once([lambda run=run: limited.send(run) for run in runs])
        assert taken(limited) == 3
        for row in limited.admin.call(
            "SELECT run_id, key FROM run_steps WHERE tenant_id = %s AND state = 'ready'"
            " AND sent_at IS NOT NULL LIMIT 2",
            (limited.tenant,),
        ):
            limited.perform(row[0], row[1])


def test_a_submission_is_not_written_as_sent_and_its_first_step_goes_when_it_has_a_place(
    limited: Spine,
) -> None:
    plan = limited.plan({"a": []}, carriers={"a": 0})
    with limited.app.tenant(limited.tenant) as connection:
        items = [limited.item(plan, broker=BROKER) for _ in range(5)]
        declared = hot.declare_intents(connection, limited.tenant, ACTOR, items)
    assert [one.admitted for one in declared] == [None] * 5
    assert taken(limited) == 0
    runs = sorted(one.run_id for one in declared)
    first = ready(limited, runs[0])
    assert first is not None
    assert (first.limited, first.next_run) == (True, runs[1])
    for run in runs:
        limited.send(run)
    assert taken(limited) == 3


def test_an_admitted_run_is_not_written_as_sent(limited: Spine) -> None:
    plan = limited.plan({"a": []}, carriers={"a": 0})
    run = limited.declare(plan, broker=BROKER, hold=True, pool="gated")
    rows = limited.system.call("SELECT run_id, fresh FROM admit(100, 100, 4, %s)", (BROKER,))
    assert (run, False) in rows
    assert limited.step(run, "a")["sent_at"] is None


def test_what_ends_leads_to_who_waits_by_priority_then_age(limited: Spine) -> None:
    limit(limited, 1)
    plan = limited.plan({"a": []})
    first = limited.declare(plan)
    limited.send(first)
    usual, urgent = (limited.declare(plan, priority=priority) for priority in (0, 5))
    order = [first]
    for _ in range(2):
        assert limited.perform(order[-1], "a").needs_advance
        found = ready(limited, order[-1])
        assert found is not None
        assert not found.steps
        assert found.next_run is not None
        assert limited.send(found.next_run)
        order.append(found.next_run)
    assert order == [first, urgent, usual]


def test_a_wide_run_leaves_the_next_place_to_an_urgent_one(limited: Spine) -> None:
    wide = limited.start(WIDE)
    limited.send(wide)
    urgent = limited.declare(limited.plan({"a": []}), priority=9)
    assert limited.send(urgent) == {}
    limited.perform(wide, "s0")
    assert limited.send(wide) == {}
    assert list(limited.send(urgent)) == ["a"]


@pytest.mark.parametrize("how", ["killed", "retry", "cancelled", "paused", "lost"])
def test_no_place_is_leaked(limited: Spine, how: str) -> None:
    run, other = limited.start(WIDE), limited.start(WIDE)
    limited.send(run)
    claim = limited.claim(run, "s0")
    if how == "killed":
        workers.release_child(limited.system, LEASE.boot, LEASE.child)
    elif how == "retry":
        limited.finish(run, "s0", claim.tries, "retry", retry_in_s=60.0)
    elif how == "lost":
        hot.unmark_sent(limited.app, limited.tenant, run, {"s1": limited.step(run, "s1")["dispatch_epoch"]})
    else:
        verb = {"cancelled": "cancel_run", "paused": "pause_run"}[how]
        limited.admin.call(f"SELECT {verb}(%s, %s, '{{}}', NULL, NULL)", (limited.tenant, run))
    free = 3 - taken(limited)
    assert free == {"killed": 1, "retry": 1, "lost": 1, "cancelled": 2, "paused": 2}[how]
    if how in ("killed", "retry", "lost"):
        limited.admin.call("SELECT cancel_run(%s, %s, '{}', NULL, NULL)", (limited.tenant, run))
    limited.send(other)
    assert taken(limited) == 3


def test_waits_fans_and_sub_workflows_take_no_place(limited: Spine) -> None:
    limit(limited, 0)
    graph = {name: [] for name in ("time", "fan", "child", "work")}
    child = limited.plan({"a": []})
    run = limited.start(graph, fans=["fan"], waits={"time": {"for": 60}}, calls={"child": child})
    found = ready(limited, run)
    assert found is not None
    assert {step.key for step in found.steps} == {"time", "fan", "child"}
    begun = limited.call_child(run, "child")
    assert begun.child is not None
    limit(limited, 1)
    assert list(limited.send(begun.child)) == []  # the work of the older run goes first
    assert list(limited.send(run)) == ["work"]
    assert taken(limited) == 1


def test_a_chain_keeps_its_place_from_step_to_step(limited: Spine) -> None:
    limit(limited, 1)
    chain, other = limited.declare(limited.plan({"a": [], "b": ["a"]})), limited.start(WIDE)
    with limited.app.tenant(limited.tenant) as connection:
        hot.ready_steps(connection, limited.tenant, chain, 10)
        hot.mark_sent(connection, limited.tenant, chain, ["a", "b"], [0, 0], BROKER)
    claim = limited.claim(chain, "a")
    message, following = limited.message(chain, "a"), limited.message(chain, "b")
    _, onward = hot.finish_and_claim(limited.app, message, claim.tries, "succeeded", following, LEASE)
    assert onward is not None
    assert onward.verdict == "claimed"
    assert limited.send(other) == {}
    assert taken(limited) == 1


def test_without_the_limit_no_lock_is_taken(limited: Spine) -> None:
    limit(limited, None)
    run = limited.start(WIDE)
    with limited.session() as session:
        ask(session, "SELECT 1 FROM lock_places(%s)", str(limited.tenant))
        found = ready(limited, run)
    assert found is None, "all is sent"
    assert limited.run(run)["held_steps"] is None
    assert limited.perform(run, "s0").needs_advance is False


def test_held_steps_are_not_the_dispatchers_until_a_place_is_free(limited: Spine) -> None:
    one, two = limited.start(WIDE), limited.start(WIDE)
    limited.send(one)
    limited.send(two)
    mine = {RunRef(limited.tenant, run) for run in (one, two)}
    assert not mine & set(recovery.unsent_runs(limited.system, 1000, -60.0))
    assert not mine & set(recovery.held_runs_due(limited.system))
    limited.perform(one, "s0")
    assert mine & set(recovery.held_runs_due(limited.system)) == {RunRef(limited.tenant, one)}


def test_a_limit_that_is_taken_away_lets_all_go(limited: Spine) -> None:
    run, other = limited.start(WIDE), limited.start(WIDE)
    limited.send(run)
    limited.send(other)
    limit(limited, None)
    assert RunRef(limited.tenant, run) in recovery.held_runs_due(limited.system)
    assert len(limited.send(run)) == 7
    assert limited.run(run)["held_steps"] is None


def test_a_new_limit_holds_from_the_next_step_on(limited: Spine) -> None:
    limit(limited, None)
    run = limited.start({"a": [], "b": ["a"], "c": ["a"], "d": ["a"], "e": ["a"]})
    root = Actor(limited.tenant, "t", None, "root@example.org", frozenset({"platform_admin"}), "test")
    change_limits(limited.system, limited.app, root, limited.tenant, None, limits.Limits(max_running_steps=2))
    finish = limited.perform(run, "a")
    assert finish.needs_advance
    assert taken(limited) == 0, "what was written as sent is taken back"
    assert len(limited.send(run)) == 2


def test_counting_reads_only_steps_with_a_place(limited: Spine) -> None:
    with limited.app.tenant(limited.tenant) as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN SELECT 1 FROM run_steps a WHERE a.tenant_id = %s AND a.state || '' = 'ready'"
            " AND a.sent_at IS NOT NULL UNION ALL"
            " SELECT 1 FROM run_steps b WHERE b.tenant_id = %s AND b.state || '' = 'running'",
            (limited.tenant, limited.tenant),
        ).scalars()
        text = "\n".join(plan)
    assert "run_steps_sent" in text, text
    assert "run_steps_leased" in text, text
