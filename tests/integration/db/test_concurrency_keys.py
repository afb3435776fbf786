"""Concurrency keys under real locks: exact, first come first served, nothing leaks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from app.services.admission import relist
from tests.integration.db.test_admission import Hall, _steer, at_once
from tests.support.spine import Race, Spine, ask
from tests.support.waiting import eventually

HELD = "held_by_key AND state IN ('queued', 'running')"


@pytest.fixture
def hall(spine: Spine) -> Hall:
    spine.admin.call(
        "TRUNCATE intents, runs, tenant_limits, fair_queues, concurrency_keys, pools, workers CASCADE"
    )
    return Hall(spine)


def submit(hall: Hall, tenant: UUID, number: int = 1, key: str = "k", **more: Any) -> list[UUID]:
    concurrency = {"key": key, "limit": 1, "on_full": "queue", **more}
    return hall.submit(tenant, number, hold=False, concurrency=concurrency)


def under(hall: Hall, tenant: UUID, key: str = "k") -> int:
    return int(hall.spine.admin.call("SELECT key_taken(%s, %s)", (tenant, key))[0][0])


def test_eight_submitters_at_a_barrier_never_exceed_the_key(hall: Hall) -> None:
    tenant = hall.tenant()
    submit(hall, tenant, limit=3)
    at_once([lambda: submit(hall, tenant, 2, limit=3) for _ in range(8)])
    assert (under(hall, tenant), hall.under_way(tenant)) == (3, 3)
    assert submit(hall, tenant, 1, "other") and under(hall, tenant, "other") == 1


def test_eight_admitters_at_a_barrier_never_exceed_the_key(hall: Hall) -> None:
    tenant = hall.tenant()
    runs = submit(hall, tenant, 12, limit=2)
    for _ in range(3):
        going = hall.spine.admin.call(
            "SELECT id FROM runs WHERE admitted_at IS NOT NULL AND state <> 'succeeded'"
        )
        for row in going:
            hall.end(tenant, row[0])
        calls: list[Callable[[], Any]] = [lambda: hall.admit(50) for _ in range(8)]
        at_once([*calls, lambda: submit(hall, tenant, 1, limit=2)])
        hall.admit(50)
        assert (under(hall, tenant), hall.under_way(tenant)) == (2, 2)
    assert hall.spine.run(runs[0])["state"] == "succeeded"


def test_the_oldest_comes_next_and_each_end_wakes_one(hall: Hall) -> None:
    tenant = hall.tenant()
    runs = submit(hall, tenant, 4)
    for at, run in enumerate(runs):
        hall.end(tenant, run)
        assert (hall.admit(10), hall.last) == ([tenant] * (at < 3), runs[at + 1 : at + 2])


def test_skip_ends_the_new_run_and_cancel_oldest_the_old(hall: Hall) -> None:
    tenant = hall.tenant()
    first = submit(hall, tenant)[0]
    skipped = submit(hall, tenant, on_full="skip")[0]
    assert (hall.spine.run(skipped)["state"], hall.spine.run(first)["state"]) == ("cancelled", "queued")
    assert "concurrency key" in hall.spine.run(skipped)["error"]["reason"]
    waiting = submit(hall, tenant)[0]
    newest = submit(hall, tenant, on_full="cancel_oldest")[0]
    assert [hall.spine.run(run)["state"] for run in (first, waiting)] == ["cancelled", "cancelled"]
    assert (hall.admit(10), hall.last) == ([tenant], [newest])


def test_cancel_oldest_waits_until_what_runs_has_ended(hall: Hall) -> None:
    tenant = hall.tenant()
    first = submit(hall, tenant)[0]
    hall.spine.tenant = tenant
    claim = hall.spine.claim(first, "a")
    newest = submit(hall, tenant, on_full="cancel_oldest")[0]
    assert hall.spine.run(first)["state"] == "cancelling"
    assert hall.admit(10) == []
    hall.spine.finish(first, "a", claim.tries, "cancelled")
    assert (hall.admit(10), hall.last) == ([tenant], [newest])


def test_pause_gives_the_key_away_and_a_return_waits_for_it(hall: Hall) -> None:
    tenant = hall.tenant()
    first, second = submit(hall, tenant, 2)
    _steer(hall, tenant, "pause_run(%s, %s, %s::jsonb, NULL, NULL)", first)
    assert (hall.admit(10), hall.last) == ([tenant], [second])
    _steer(hall, tenant, "resume_run(%s, %s, %s::jsonb, NULL)", first)
    assert (hall.admit(10), under(hall, tenant)) == ([], 1)
    hall.end(tenant, second, "failed")
    _steer(hall, tenant, "retry_run(%s, %s, %s::jsonb, NULL)", second)
    assert (hall.admit(10), hall.last) == ([tenant], [first])
    hall.end(tenant, first)
    assert (hall.admit(10), hall.last) == ([tenant], [second])


def test_a_missed_wake_up_is_made_good(hall: Hall) -> None:
    tenant = hall.tenant()
    first, second = submit(hall, tenant, 2)
    hall.admit(10)
    with hall.spine.session(hall.spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SELECT 1 FROM concurrency_keys FOR UPDATE")
        hall.end(tenant, first)
    hall.spine.system.call("UPDATE concurrency_keys SET due_at = due_at - interval '1 second'")
    assert (hall.admit(10), hall.last) == ([tenant], [second])


def test_a_run_that_comes_back_when_its_key_is_forgotten_gets_a_place(hall: Hall) -> None:
    tenant = hall.tenant()
    paused, failed = submit(hall, tenant, 2, limit=2), submit(hall, tenant, key="other")[0]
    for run in paused:
        _steer(hall, tenant, "pause_run(%s, %s, %s::jsonb, NULL, NULL)", run)
    hall.end(tenant, failed, "failed")
    hall.admit(10)
    assert hall.spine.system.call("SELECT prune_keys(interval '-1 hour')") == [(2,)]
    for run in paused:
        _steer(hall, tenant, "resume_run(%s, %s, %s::jsonb, NULL)", run)
    _steer(hall, tenant, "retry_run(%s, %s, %s::jsonb, NULL)", failed)
    relist(hall.spine.system)
    assert (len(hall.admit(10)), sorted(hall.last)) == (3, sorted([*paused, failed]))


def test_a_run_that_comes_back_while_its_key_is_held_gets_a_place(hall: Hall) -> None:
    tenant = hall.spine.tenant = hall.tenant()
    run = submit(hall, tenant, limit=2)[0]
    _steer(hall, tenant, "pause_run(%s, %s, %s::jsonb, NULL, NULL)", run)
    hall.admit(10)
    with hall.spine.session() as session:
        ask(session, "SELECT lock_keys(%s, '{k}')", str(tenant))  # as a submission does
        _steer(hall, tenant, "resume_run(%s, %s, %s::jsonb, NULL)", run)
        session.commit()
    relist(hall.spine.system)
    assert (hall.admit(10), hall.last) == ([tenant], [run])
    assert relist(hall.spine.system) == 0, "nobody waits unnoticed"


def test_keys_that_nobody_uses_are_forgotten(hall: Hall) -> None:
    tenant = hall.tenant()
    run = submit(hall, tenant)[0]
    assert hall.spine.system.call("SELECT prune_keys(interval '-1 hour')") == [(0,)]
    hall.end(tenant, run)
    hall.admit(10)
    assert hall.spine.system.call("SELECT prune_keys(interval '-1 hour')") == [(1,)]
    assert submit(hall, tenant) and hall.under_way(tenant) == 1


def test_a_submission_waits_for_the_one_that_holds_the_key(hall: Hall) -> None:
    tenant = hall.tenant()
    hall.spine.tenant = tenant
    with hall.spine.session() as first, hall.spine.session() as second:
        hall.spine.system.call("SELECT lock_keys(%s, '{k}')", (tenant,))
        ask(first, "SELECT lock_keys(%s, '{k}')", str(tenant))
        race = Race(second, lambda: ask(second, "SELECT lock_keys(%s, '{j,k}')", str(tenant)))
        hall.spine.wait_blocked(race)
        first.commit()
        race.result()


def test_who_comes_later_does_not_overtake(hall: Hall) -> None:
    tenant = hall.tenant()
    first, second = submit(hall, tenant, 2)
    hall.end(tenant, first)
    third = submit(hall, tenant)[0]
    assert hall.spine.run(third)["held_by_key"]
    assert (hall.admit(10), hall.last) == ([tenant], [second])


def test_a_place_is_handed_on_although_the_tenant_rests(hall: Hall) -> None:
    tenant = hall.tenant()
    first, second, third = submit(hall, tenant, 3)
    hall.end(tenant, first)
    assert hall.admit(10) == [tenant]
    assert hall.admit(10) == [], "it has nothing to give, so it rests a moment"
    hall.end(tenant, second)
    assert (hall.admit(10), hall.last) == ([tenant], [third])


def test_a_submission_waits_for_no_admission(hall: Hall) -> None:
    tenant = hall.tenant(runs=1)
    first, second = submit(hall, tenant)[0], submit(hall, tenant)[0]
    hall.end(tenant, first)
    hall.submit(tenant, 1, hold=False)  # takes the place of the tenant
    hall.spine.admin.call("INSERT INTO pools (pool) VALUES ('default')")
    blocked = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM admit(%'"
    )
    with hall.spine.session(hall.spine.urls.admin) as session, ThreadPoolExecutor(1) as beat:
        ask(session, "SELECT 1 FROM pools FOR UPDATE")
        admitted = beat.submit(
            hall.admit, 10
        )  # second has a place under its key now, so its tenant is listed
        eventually(lambda: hall.spine.admin.call(blocked) == [(1,)], within=5)
        hall.submit(
            tenant, 1, hold=False
        )  # would wait for that listing, with the limits that the admission needs
        session.rollback()
        assert admitted.result(10) == []
    assert not hall.spine.run(second)["held_by_key"]
