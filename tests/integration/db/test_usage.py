"""Usage equals its source: in any chunks, by two at once, after retries, from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import date
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest

from app.db import runs
from app.db.usage import UsageModels, buckets, days
from app.domain.usage import BOUNDS_S
from app.services.usage import compare_usage, follow_usage, rebuild_usage
from tests.support.servers import DatabaseUrls
from tests.support.spine import ACTOR, Spine

EVER = (date(2020, 1, 1), date(2100, 1, 1))


@pytest.fixture
def spine(fresh_database_urls: DatabaseUrls) -> Iterator[Spine]:
    with closing(Spine(fresh_database_urls)) as spine:
        yield spine


@pytest.fixture
def models(spine: Spine) -> UsageModels:
    made = UsageModels(spine.system)
    made.prepare()
    return made


def ended(spine: Spine, *, failed: bool = False) -> UUID:
    """Run two steps to their end; the second may fail."""
    run = spine.start({"a": [], "b": ["a"]})
    spine.perform(run, "a")
    spine.perform(run, "b", "failed" if failed else "succeeded")
    return run


def follow(spine: Spine, models: UsageModels) -> int:
    spine.system.call("SELECT sequence_events(10000)")
    return follow_usage(models)


def today(spine: Spine, tenant: UUID | None = None) -> dict[str, Any]:
    """Return what was used: everything of one day, whichever side of midnight it fell on."""
    found = days(spine.app, tenant or spine.tenant, *EVER)
    return {name: sum(day[name] for day in found) for name in (found[0] if found else ()) if name != "day"}


def retried(spine: Spine, run: UUID) -> None:
    with spine.app.tenant(spine.tenant) as connection:
        runs.retry_run(connection, spine.tenant, run, ACTOR, spine.run(run)["version"])


def test_runs_attempts_and_events_are_counted_by_day(spine: Spine, models: UsageModels) -> None:
    for failed in (False, False, True):
        ended(spine, failed=failed)
    spine.start({"a": []})
    other = spine.new_tenant()
    seen = follow(spine, models)
    found = today(spine)
    assert (found["runs_succeeded"], found["runs_failed"], found["runs_cancelled"]) == (2, 1, 0)
    assert found["attempts"] == 6
    assert found["step_seconds"] > 0
    [(events, size)] = spine.system.call(
        "SELECT count(*), sum(octet_length(data::text)) FROM events WHERE tenant_id = %s", (spine.tenant,)
    )
    assert (found["events"], found["event_bytes"]) == (events, size)
    assert seen == events
    assert today(spine, other) == {}
    assert follow(spine, models) == 0
    assert compare_usage(models, None) == {}


def test_a_retried_run_is_counted_as_it_ended_last(spine: Spine, models: UsageModels) -> None:
    run = ended(spine, failed=True)
    follow(spine, models)
    assert today(spine)["runs_failed"] == 1
    retried(spine, run)
    follow(spine, models)
    assert today(spine)["runs_failed"] == 0
    assert today(spine)["attempts"] == 0
    spine.send(run)
    spine.perform(run, "b")
    follow(spine, models)
    found = today(spine)
    assert (found["runs_succeeded"], found["runs_failed"], found["attempts"]) == (1, 0, 3)
    assert compare_usage(models, spine.tenant) == {}


def test_one_event_at_a_time_by_two_at_once_comes_to_the_same(spine: Spine, models: UsageModels) -> None:
    for number in range(12):
        run = ended(spine, failed=number % 3 == 0)
        if number % 6 == 0:
            retried(spine, run)
    spine.system.call("SELECT sequence_events(10000)")
    barrier = Barrier(2)

    def work() -> None:
        barrier.wait()
        idle = 0
        while idle < 3:  # the other one may have every shard in hand just now
            idle = 0 if models.follow(1) else idle + 1

    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(work), pool.submit(work)]:
            each.result()
    follow(spine, models)
    found = today(spine)
    assert (found["runs_succeeded"], found["runs_failed"]) == (8, 2)
    [(events,)] = spine.system.call("SELECT count(*) FROM events")
    assert found["events"] == events
    assert compare_usage(models, None) == {}


def test_what_was_spoilt_is_found_and_rebuilt_from_nothing(spine: Spine, models: UsageModels) -> None:
    for number in range(6):
        ended(spine, failed=number == 0)
    follow(spine, models)
    before, waits = today(spine), histogram(spine, "wait")
    spine.admin.call("UPDATE usage_days SET runs_succeeded = runs_succeeded + 1, step_seconds = 99")
    spine.admin.call("DELETE FROM usage_runs WHERE run_id = (SELECT min(run_id::text)::uuid FROM usage_runs)")
    spine.admin.call("UPDATE usage_latencies SET runs = runs * 2")
    assert compare_usage(models, None) == {spine.tenant: 2}
    spine.admin.call("UPDATE events SET created_at = created_at - interval '1 day'")  # so today is whole
    assert rebuild_usage(models, None) == 6
    after = today(spine)
    assert after.pop("step_seconds") == pytest.approx(before.pop("step_seconds"))
    assert {**after, "events": before["events"], "event_bytes": before["event_bytes"]} == before
    assert histogram(spine, "wait") == waits
    assert compare_usage(models, None) == {}
    ended(spine)
    follow(spine, models)
    assert today(spine)["runs_succeeded"] == before["runs_succeeded"] + 1


def histogram(spine: Spine, measure: str) -> dict[int, int]:
    return dict(buckets(spine.app, spine.tenant, *EVER, measure))


def test_latencies_fall_into_the_buckets_that_the_code_knows(spine: Spine, models: UsageModels) -> None:
    assert tuple(spine.system.call("SELECT usage_bounds()")[0][0]) == tuple(map(float, BOUNDS_S))
    run = ended(spine)
    spine.admin.call(
        "UPDATE runs SET created_at = finished_at - interval '90 s',"
        " started_at = finished_at - interval '85 s' WHERE id = %s",
        (run,),
    )
    follow(spine, models)
    assert histogram(spine, "wait") == {BOUNDS_S.index(10): 1}
    assert histogram(spine, "duration") == {BOUNDS_S.index(300): 1}


def test_events_are_kept_until_they_are_counted(spine: Spine, models: UsageModels) -> None:
    ended(spine)
    spine.system.call("SELECT sequence_events(10000)")
    [(passed,)] = spine.system.call("SELECT max(position) FROM relay_cursors WHERE sink = 'usage'")
    assert passed == 0
    follow(spine, models)
    [(behind,)] = spine.system.call(
        "SELECT count(*) FROM events e JOIN relay_cursors c ON c.sink = 'usage' AND c.shard = e.shard"
        " WHERE e.position > c.position"
    )
    assert behind == 0
