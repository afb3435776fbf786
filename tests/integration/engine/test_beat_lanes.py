"""Beat's lanes: what takes long keeps only its own lane waiting."""

from __future__ import annotations

import threading

import pytest

from app.db.gauges import read_gauges
from app.services.schedule import MARK_EVERY_S, LaneMark, list_lanes
from tasks import beat_lane
from tasks.beat_lane import Lane
from tasks.beat_table import Job, beat_table
from tests.support.rig import Rig
from tests.support.waiting import eventually


def test_a_job_that_takes_long_keeps_no_other_lane_waiting(rig: Rig) -> None:
    system = rig.beat_parts.dispatch.system
    begun, over, turns = threading.Event(), threading.Event(), []

    def long() -> None:
        begun.set()
        assert over.wait(60)

    slow = Lane("slow", [Job("test.long", 0.0, long)], system)
    quick = Lane("quick", [Job("test.quick", 0.0, lambda: turns.append(1))], system)
    slow.start()
    assert begun.wait(30)
    quick.start()
    try:
        eventually(lambda: len(turns) >= 2, within=30, what="the quick lane takes turns")
    finally:
        over.set()
        for lane in (slow, quick):
            lane.stop()
            lane.join(30)
    assert not slow.is_alive()


def test_a_lane_outlives_what_its_jobs_raise_and_tells_it(rig: Rig) -> None:
    system, done = rig.beat_parts.dispatch.system, []

    def broken() -> None:
        raise ZeroDivisionError("on purpose")

    lane = Lane(
        "both", [Job("test.broken", 0.0, broken), Job("test.after", 0.0, lambda: done.append(1))], system
    )
    lane.turn()
    assert done == [1]
    told = rig.rows("SELECT last_error FROM beat_jobs WHERE name = 'test.broken'")
    assert "on purpose" in told[0]["last_error"]


def test_recovery_shares_its_lane_with_nothing(rig: Rig) -> None:
    table = beat_table(rig.beat_parts)
    assert [job.name for job in table["recovery"]] == ["recover", "dispatch"]
    names = [job.name for jobs in table.values() for job in jobs]
    assert len(names) == len(set(names))
    assert {"lost_messages", "schedules", "triggers", "prune", "seal_audit"} <= set(names)


def _ages(rig: Rig) -> dict[str, float]:
    found = read_gauges(rig.beat_parts.dispatch.system)
    return {lane: age for name, lane, age in found if name == "quantum_beat_lane_age_seconds"}


def test_a_lane_that_hangs_grows_old_in_the_rows_and_tells_where_it_is(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, told = rig.beat_parts.dispatch.system, list[tuple[str, dict[str, str]]]()
    begun, over = threading.Event(), threading.Event()

    def where_it_hangs() -> None:
        begun.set()
        assert over.wait(60)

    jobs = [Job("test.hangs", 0.0, where_it_hangs), Job("test.behind", 0.0, lambda: None)]
    stuck, other = Lane("stuck", jobs, system), Lane("other", [Job("test.other", 0.0, lambda: None)], system)
    stuck.start()
    try:
        assert begun.wait(30)
        rig.rows("UPDATE beat_jobs SET last_at = last_at - interval '5 minutes' WHERE lane = 'stuck'")
        other.turn()
        ages = _ages(rig)
        assert ages["stuck"] > 299
        assert ages["other"] < 60
        (lane,) = (each for each in list_lanes(system) if each.name == "stuck")
        assert [job.name for job in lane.jobs] == ["test.behind", "test.hangs"]
        monkeypatch.setattr(beat_lane.log, "error", lambda name, extra: told.append((name, extra)))
        stuck.tell_if_stuck()
        assert told == [], "not before a minute is over"
        monkeypatch.setattr(beat_lane, "STUCK_S", 0.0)
        stuck.tell_if_stuck()
        stuck.tell_if_stuck()
        ((name, extra),) = told
        assert (name, extra["lane"], extra["job"]) == ("beat_lane_stuck", "stuck", "test.hangs")
        assert "where_it_hangs" in extra["stack"]
    finally:
        over.set()
        stuck.stop()
        stuck.join(30)
    stuck.turn()
    assert _ages(rig)["stuck"] < 60, "it goes on"


def test_threads_without_jobs_tell_that_they_go_on_too(rig: Rig) -> None:
    system, now = rig.beat_parts.dispatch.system, [0.0]
    mark = LaneMark(system, "test-thread", lambda: now[0])
    mark.note()
    assert _ages(rig)["test-thread"] < 60
    for passed, age in ((MARK_EVERY_S - 1, 100), (MARK_EVERY_S, 0)):
        rig.rows(
            "UPDATE beat_jobs SET last_at = last_at - interval '100 s', next_at = next_at - interval '100 s'"
            " WHERE lane = 'test-thread'"
        )
        now[0] = passed
        mark.note()
        assert age <= _ages(rig)["test-thread"] < age + 60
