"""The thread that fires timers outlives what it runs into."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db.engine import Database
from app.domain.errors import Unavailable
from app.domain.leases import RunRef
from app.services.timers import WAITS_AT_ONCE, Timers, fire_due
from tests.support.waiting import eventually

RUN = (UUID(int=1), UUID(int=2))


class Answers(Database):
    """Answers each call with the next of its answers, then with nothing."""

    def __init__(self, *answers: Any) -> None:
        self.left = list(answers)

    def call(self, *_: Any) -> Any:
        answer = self.left.pop(0) if self.left else []
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_full_batches_are_followed_by_another_each_run_is_told_once() -> None:
    system = Answers([(*RUN, True)] * WAITS_AT_ONCE, [(*RUN, True), (UUID(int=1), UUID(int=3), False)])
    assert fire_due(system) == [RunRef(*RUN)]
    assert not system.left


def test_the_thread_goes_on_after_a_fault() -> None:
    system = Answers(Unavailable("database"), RuntimeError("x"), RuntimeError("y"), [(*RUN, True)])
    timers = Timers(system)
    timers.start()
    try:
        eventually(lambda: not system.left, within=10.0)
        assert timers.is_alive()
    finally:
        timers.stop()
        timers.join(5)
