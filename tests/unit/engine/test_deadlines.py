"""The table of time limits that a worker's pool shares, the thread that holds steps to them."""

from __future__ import annotations

import os
import time
from uuid import UUID

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from app.domain.leases import Child, StepMessage
from app.services.ports import NO_LIMITS
from tasks.children import born
from tasks.deadlines import SLOT_BYTES, DeadlineTable, RunningStep, SlotLimits, Warden, limits_of

SELF = Child(os.getpid(), born(os.getpid()) or 0)


def message(key: str = "a.3") -> StepMessage:
    return StepMessage(UUID(int=1), UUID(int=2), key, 7)


class Power:
    """Notes what the warden did, to which step."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str]] = []

    def interrupt(self, step: RunningStep) -> None:
        self.done.append(("interrupt", step.message.key))

    def kill(self, step: RunningStep) -> None:
        self.done.append(("kill", step.message.key))


@pytest.fixture
def table() -> DeadlineTable:
    return DeadlineTable(4)


def test_a_child_s_entry_is_read_by_its_parent_until_the_step_ends(table: DeadlineTable) -> None:
    limits = SlotLimits(table, 2, SELF, 10)
    pid = os.fork()
    if pid == 0:
        limits.begin(message("x" * 300), 4, 30)
        os._exit(0)
    os.waitpid(pid, 0)
    ((slot, step),) = table.running().items()
    assert (slot, step.child, step.tries, step.soft_s, step.hard_s) == (2, SELF, 4, 30, 40)
    assert step.message == message("x" * 300)
    assert abs(time.monotonic() - step.since) < 5
    limits.end()
    assert table.running() == {}


def test_a_torn_entry_is_no_entry(table: DeadlineTable) -> None:
    SlotLimits(table, 1, SELF, 10).begin(message(), 1, 30)
    table._memory[SLOT_BYTES + 40] ^= 1
    assert table.running() == {}


def test_a_step_is_told_once_softly_and_once_hard(table: DeadlineTable) -> None:
    power, limits = Power(), SlotLimits(table, 0, SELF, 10)
    warden = Warden(power, table)
    limits.begin(message(), 1, 5)
    since = table.running()[0].since
    for spent in (4.9, 5.0, 5.1, 14.9, 15.0, 15.1):
        warden.look(since + spent)
    assert power.done == [("interrupt", "a.3"), ("kill", "a.3")]
    limits.begin(message("b"), 1, 5)
    warden.look(time.monotonic() + 5)
    assert power.done[2:] == [("interrupt", "b")], "the next step has limits of its own"


def test_nobody_is_killed_for_a_process_that_is_gone(table: DeadlineTable) -> None:
    power = Power()
    warden = Warden(power, table)
    SlotLimits(table, 0, Child(SELF.pid, SELF.born + 1), 1).begin(message(), 1, 1)
    warden.look(time.monotonic() + 60)
    assert power.done == []


def test_a_signal_strikes_between_begin_and_end_only(table: DeadlineTable) -> None:
    limits = SlotLimits(table, 0, SELF, 10)
    limits.heed()
    limits.begin(message(), 1, 5)
    with pytest.raises(SoftTimeLimitExceeded):
        limits.heed()
    limits.end()
    limits.heed()


def test_a_process_without_a_number_has_no_limits() -> None:
    assert limits_of(SELF, 10) is NO_LIMITS
