"""A worker that failed is ended when it hangs, never while it works."""

from __future__ import annotations

from tasks.last_resort import IDLE_S, LastResort


class Worker:
    """A worker as the last resort sees it."""

    def __init__(self) -> None:
        self.exitcode: int | None = None
        self.busy = False
        self.ended: list[int] = []
        self.last_resort = LastResort(lambda: self.exitcode, lambda: self.busy, self.ended.append)

    def look(self, *moments: float) -> list[int]:
        for moment in moments:
            self.last_resort.look(moment)
        return self.ended


def test_a_worker_that_is_well_or_ends_in_good_order_is_left_alone() -> None:
    worker = Worker()
    assert worker.look(0, 10 * IDLE_S) == []
    worker.exitcode = 0
    assert worker.look(20 * IDLE_S, 40 * IDLE_S) == [], "a warm shutdown may take as long as its steps"


def test_one_that_failed_has_its_time_to_end_by_itself() -> None:
    worker = Worker()
    worker.exitcode = 1
    assert worker.look(0, IDLE_S - 0.1) == []
    assert worker.look(IDLE_S) == [1]


def test_what_it_executes_is_waited_for() -> None:
    worker = Worker()
    worker.exitcode, worker.busy = 1, True
    assert worker.look(0, 100 * IDLE_S) == []
    worker.busy = False
    assert worker.look(100 * IDLE_S, 101 * IDLE_S - 0.1) == []
    assert worker.look(101 * IDLE_S) == [1]
