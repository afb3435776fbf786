"""Admission under real locks: exact limits, weighted turns, places that nobody can leak."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest

from app.db import admission as store
from app.db import hot, workers
from app.db.ids import new_id
from app.domain.leases import Child
from tests.support.spine import ACTOR, BROKER, LEASE, Race, Spine, ask

POOL = "default"
PLENTY = 10_000
UNDER_WAY = (
    "admitted_at IS NOT NULL AND state IN ('queued', 'running', 'pausing', 'cancelling', 'compensating')"
)


class Hall:
    """A database of its own with the plan of one step, from which tenants submit and a beat admits."""

    def __init__(self, spine: Spine) -> None:
        self.spine = spine
        self.plans: dict[UUID, str] = {}

    def tenant(self, *, weight: int = 1, runs: int | None = None) -> UUID:
        tenant = self.spine.new_tenant()
        self.limit(tenant, weight=weight, runs=runs)
        return tenant

    def limit(self, tenant: UUID, *, weight: int = 1, runs: int | None = None) -> None:
        self.spine.system.call(
            "INSERT INTO tenant_limits (tenant_id, weight, max_running_runs) VALUES (%s, %s, %s)"
            " ON CONFLICT (tenant_id) DO UPDATE SET weight = excluded.weight,"
            " max_running_runs = excluded.max_running_runs",
            (tenant, weight, runs),
        )
        self.spine.system.call("SELECT unpark(%s)", (tenant,))

    def submit(self, tenant: UUID, number: int, **members: Any) -> list[UUID]:
        """Submit runs of one step, by default ones that must wait for room in the pool."""
        spine = self.spine
        if tenant not in self.plans:
            self.plans[tenant] = spine.plan({"a": []}, carriers={"a": 0}, tenant=tenant)
        members = {"hold": True, "pool": POOL, **members}
        items = [spine.item(self.plans[tenant], broker=BROKER, **members) for _ in range(number)]
        with spine.app.tenant(tenant) as connection:
            declared = hot.declare_intents(connection, tenant, ACTOR, items)
        return sorted(one.run_id for one in declared)  # age is the order of the ids

    def admit(self, limit: int, *, floor: int = PLENTY) -> list[UUID]:
        """One look of an admitter, which takes at most so many; return the tenants in turn."""
        admitted = store.admit(self.spine.system, limit, floor, 4, BROKER)
        self.last = [one.run_id for one in admitted]
        return [one.tenant_id for one in admitted]

    def under_way(self, tenant: UUID) -> int:
        rows = self.spine.admin.call(
            f"SELECT count(*) FROM runs WHERE tenant_id = %s AND {UNDER_WAY}", (tenant,)
        )
        return int(rows[0][0])

    def end(self, tenant: UUID, run: UUID, outcome: str = "succeeded") -> None:
        """Run the only step of a run."""
        self.spine.tenant = tenant
        self.spine.send(run)  # what came back is not marked by the admission
        self.spine.perform(run, "a", outcome)


@pytest.fixture
def hall(spine: Spine) -> Hall:
    """Nobody waits, nobody works."""
    spine.admin.call("TRUNCATE intents, runs, tenant_limits, fair_queues, pools, workers CASCADE")
    return Hall(spine)


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Make the calls in threads that leave one barrier together."""
    barrier, answers = threading.Barrier(len(calls)), []

    def one(call: Callable[[], Any]) -> None:
        barrier.wait(10)
        answers.append(call())

    threads = [threading.Thread(target=one, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == len(calls)
    return answers


def test_without_limits_a_run_goes_at_once_and_no_lock_is_taken(hall: Hall) -> None:
    tenant = hall.tenant(weight=5)
    hall.spine.tenant = tenant
    with hall.spine.session(hall.spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM tenant_limits WHERE tenant_id = %s FOR UPDATE", (str(tenant),))
        run = hall.submit(tenant, 1, hold=False)[0]
    assert hall.spine.run(run)["admitted_at"] is not None
    assert hall.spine.claim(run, "a").verdict == "claimed"
    assert hall.spine.admin.call("SELECT count(*) FROM fair_queues") == [(0,)]


def test_a_submission_waits_for_the_one_that_counts(hall: Hall) -> None:
    tenant = hall.tenant(runs=1)
    hall.spine.tenant = tenant
    with hall.spine.session() as first, hall.spine.session() as second:
        assert ask(first, "SELECT room FROM free_places(%s)", str(tenant)) == (1,)
        race = Race(second, lambda: ask(second, "SELECT room FROM free_places(%s)", str(tenant)))
        hall.spine.wait_blocked(race)
        first.rollback()
        assert race.result() == (1,)


def test_eight_submitters_at_a_barrier_never_exceed_the_limit(hall: Hall) -> None:
    tenant = hall.tenant(runs=5)
    hall.submit(tenant, 1, hold=False)
    at_once([lambda: hall.submit(tenant, 2, hold=False) for _ in range(8)])
    assert hall.under_way(tenant) == 5


def test_eight_admitters_and_submitters_at_a_barrier_never_exceed_the_limit(hall: Hall) -> None:
    tenants = [hall.tenant(runs=3) for _ in range(3)]
    for tenant in tenants:
        hall.submit(tenant, 10)
    calls: list[Callable[[], Any]] = [lambda: hall.admit(50) for _ in range(8)]
    for tenant in tenants:
        calls += [lambda tenant=tenant: hall.submit(tenant, 1, hold=False) for _ in range(2)]
    at_once(calls)
    hall.admit(50)
    assert [hall.under_way(tenant) for tenant in tenants] == [3, 3, 3]


def test_eight_returns_at_a_barrier_never_exceed_the_limit(hall: Hall) -> None:
    tenant = hall.tenant()
    runs = hall.submit(tenant, 8, hold=False)
    for run in runs[:4]:
        hall.end(tenant, run, "failed")
    for run in runs[4:]:
        assert _steer(hall, tenant, "pause_run(%s, %s, %s::jsonb, NULL, NULL)", run) == "ok"
    assert hall.under_way(tenant) == 0
    hall.limit(tenant, runs=3)
    at_once(
        [lambda r=r: _steer(hall, tenant, "retry_run(%s, %s, %s::jsonb, NULL)", r) for r in runs[:4]]
        + [lambda r=r: _steer(hall, tenant, "resume_run(%s, %s, %s::jsonb, NULL)", r) for r in runs[4:]]
    )
    assert hall.under_way(tenant) == 0, "what comes back under a limit waits for the admitter"
    at_once([lambda: hall.admit(50) for _ in range(8)])
    hall.admit(50)
    assert hall.under_way(tenant) == 3


def _steer(hall: Hall, tenant: UUID, call: str, run: UUID) -> Any:
    with hall.spine.app.tenant(tenant) as connection:
        rows = connection.exec_driver_sql(f"SELECT ({call})::text", (tenant, run, '{"email": "x"}')).all()
    return rows[0][0].strip("()").split(",")[0]


def test_a_place_is_free_when_its_run_ends_rests_or_is_cancelled(hall: Hall) -> None:
    tenant = hall.tenant(runs=1)
    first, *rest = hall.submit(tenant, 4, hold=False)
    assert hall.under_way(tenant) == 1
    assert hall.admit(10) == []
    hall.end(tenant, first)
    assert (hall.admit(10), hall.last) == ([tenant], rest[:1])
    _steer(hall, tenant, "pause_run(%s, %s, %s::jsonb, NULL, NULL)", rest[0])
    assert (hall.admit(10), hall.last) == ([tenant], rest[1:2])
    _steer(hall, tenant, "resume_run(%s, %s, %s::jsonb, NULL)", rest[0])
    assert hall.admit(10) == []
    _steer(hall, tenant, "cancel_run(%s, %s, %s::jsonb, NULL, NULL)", rest[1])
    assert (hall.admit(10), hall.last) == ([tenant], rest[:1])
    hall.end(tenant, rest[0])
    assert (hall.admit(10), hall.last) == ([tenant], rest[2:])


def test_a_waiting_run_is_not_sent_and_can_be_cancelled(hall: Hall) -> None:
    tenant = hall.tenant()
    run = hall.submit(tenant, 1)[0]
    hall.spine.tenant = tenant
    assert hall.spine.send(run) == {}
    assert hall.spine.claim(run, "a", 1).verdict == "lost"
    assert hall.spine.system.call("SELECT * FROM unsent_runs(10, interval '-1 hour')") == []
    _steer(hall, tenant, "cancel_run(%s, %s, %s::jsonb, NULL, NULL)", run)
    assert hall.spine.run(run)["state"] == "cancelled"
    assert hall.admit(10) == []


def test_a_waiting_run_lists_nothing_to_send(hall: Hall) -> None:
    tenant = hall.tenant()
    run = hall.submit(tenant, 1)[0]
    with hall.spine.app.tenant(tenant) as connection:
        assert hot.ready_steps(connection, tenant, run, 10) is None


def test_an_admitted_run_is_marked_like_a_submission(hall: Hall) -> None:
    tenant = hall.tenant()
    run = hall.submit(tenant, 1)[0]
    assert hall.admit(10) == [tenant]
    step = hall.spine.step(run, "a")
    assert (step["dispatch_epoch"], step["carrier"], step["broker_epoch"]) == (1, 0, BROKER)
    hall.end(tenant, run)
    assert hall.spine.run(run)["state"] == "succeeded"


@pytest.mark.parametrize("at_a_look", [1, 8, 40])
def test_shares_follow_the_weights(hall: Hall, at_a_look: int) -> None:
    light, heavy = hall.tenant(weight=1), hall.tenant(weight=3)
    for tenant in (light, heavy):
        hall.submit(tenant, 300)
    served: Counter[UUID] = Counter()
    while served.total() < 160:
        served.update(hall.admit(at_a_look))
    assert served[heavy] == pytest.approx(3 * served[light], abs=8), served


def test_a_newcomer_is_served_at_once_and_gains_nothing_for_having_been_away(hall: Hall) -> None:
    busy, newcomer = hall.tenant(), hall.tenant()
    hall.submit(busy, 200)
    for _ in range(10):
        hall.admit(10)
    hall.submit(newcomer, 60)
    assert newcomer in hall.admit(2)
    later = Counter(tenant for _ in range(10) for tenant in hall.admit(4))
    assert later[newcomer] == pytest.approx(later[busy], abs=3), later


def test_priority_then_age_within_a_tenant(hall: Hall) -> None:
    tenant = hall.tenant()
    low = hall.submit(tenant, 3, priority=-1)
    usual = hall.submit(tenant, 3)
    urgent = hall.submit(tenant, 2, priority=5)
    order: list[UUID] = []
    while hall.admit(1):
        order += hall.last
    assert order == [*urgent, *usual, *low]


def test_a_full_tenant_does_not_hold_up_the_others(hall: Hall) -> None:
    full = [hall.tenant(runs=0) for _ in range(70)]
    for tenant in full:
        hall.submit(tenant, 1)
    free = hall.tenant()
    hall.spine.system.call("UPDATE fair_queues SET finish = -1")
    hall.submit(free, 2)
    assert hall.admit(2) == [free, free]
    hall.limit(full[0], runs=1)
    assert hall.admit(2) == full[:1]


def test_a_pool_takes_what_its_workers_can_do(hall: Hall) -> None:
    tenant = hall.tenant()
    hall.submit(tenant, 100)
    assert len(hall.admit(PLENTY, floor=6)) == 6
    assert hall.admit(PLENTY, floor=6) == []
    children = [Child(n, n) for n in range(3)]
    workers.beat(hall.spine.system, new_id(), "w", 1, "1", [POOL], children)
    assert len(hall.admit(PLENTY, floor=6)) == 3 * 4 - 6
    done = hall.spine.system.call("SELECT id FROM runs WHERE admitted_at IS NOT NULL LIMIT 5")
    for row in done:
        hall.end(tenant, row[0])
    assert len(hall.admit(PLENTY, floor=6)) == 5


def test_no_place_is_lost_when_a_worker_dies(hall: Hall) -> None:
    tenant = hall.tenant(runs=1)
    hall.spine.tenant = tenant
    first, second = hall.submit(tenant, 2, hold=False)
    assert hall.spine.claim(first, "a").verdict == "claimed"
    for _ in range(3):
        workers.release_child(hall.spine.system, LEASE.boot, LEASE.child)
        hall.spine.send(first)
        hall.spine.claim(first, "a")
    assert hall.spine.run(first)["state"] == "failed"
    assert (hall.admit(10), hall.last) == ([tenant], [second])


def test_listing_lost_with_a_slow_commit_is_found(hall: Hall) -> None:
    tenant = hall.tenant()
    run = hall.submit(tenant, 1)[0]
    hall.spine.system.call("UPDATE fair_queues SET listed = false")
    assert hall.admit(10) == []
    assert hall.spine.system.call("SELECT relist_waiting()") == [(1,)]
    assert (hall.admit(10), hall.last) == ([tenant], [run])


def test_app_role_cannot_change_limits(hall: Hall) -> None:
    tenant = hall.tenant(runs=1)
    with hall.spine.app.tenant(tenant) as connection, pytest.raises(Exception, match="permission denied"):
        connection.exec_driver_sql("UPDATE tenant_limits SET max_running_runs = 100")
    other = hall.tenant()
    with hall.spine.app.tenant(other) as connection:
        rows = connection.exec_driver_sql("SELECT tenant_id FROM tenant_limits").all()
    assert [row[0] for row in rows] == [other]
