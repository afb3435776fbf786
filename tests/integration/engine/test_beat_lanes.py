"""Beat's lanes: what takes long keeps only its own lane waiting."""

from __future__ import annotations

import threading

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
