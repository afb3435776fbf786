"""Claims that their living process does not work on, work that has lost its claim."""

from __future__ import annotations

from uuid import UUID

from app.domain.leases import Child, HeldClaim, StepMessage
from tasks.deadlines import DeadlineTable, RunningStep
from tasks.orphans import Forsaken, Orphans

CHILD = Child(100, 1)
CLAIM = HeldClaim(UUID(int=1), UUID(int=2), "a", 3, 1, CHILD)


def working(key: str = "a", tries: int = 3, child: Child = CHILD) -> RunningStep:
    return RunningStep(child, StepMessage(UUID(int=1), UUID(int=2), key, 1), tries, 0.0, 10.0, 20.0)


def test_a_claim_nobody_works_on_is_an_orphan_in_the_end() -> None:
    orphans = Orphans(10)
    assert [orphans.look(moment, [CLAIM], []) for moment in (0, 5, 9.9)] == [[], [], []]
    assert orphans.look(10, [CLAIM], []) == [CLAIM]
    assert orphans.look(11, [], []) == []


def test_a_claim_that_is_worked_on_is_none_however_long() -> None:
    orphans = Orphans(10)
    for moment in range(0, 100, 5):
        assert orphans.look(moment, [CLAIM], [working()]) == []


def test_a_moment_of_work_begins_the_wait_anew() -> None:
    orphans = Orphans(10)
    orphans.look(0, [CLAIM], [])
    orphans.look(9, [CLAIM], [working()])
    assert orphans.look(18, [CLAIM], []) == []
    assert orphans.look(28, [CLAIM], []) == [CLAIM]


def test_work_on_something_else_does_not_count() -> None:
    for other in (working("b"), working(tries=2), working(child=Child(100, 2))):
        orphans = Orphans(10)
        orphans.look(0, [CLAIM], [other])
        assert orphans.look(10, [CLAIM], [other]) == [CLAIM]


def test_work_whose_claim_was_taken_back_is_to_end() -> None:
    for other in (working("b"), working(tries=2), working(child=Child(100, 2))):
        forsaken = Forsaken()
        assert [forsaken.look([CLAIM], [other]) for _ in range(3)] == [[], [other], [other]]


def test_work_is_not_forsaken_before_its_claim_could_be_seen_nor_once_it_has_one() -> None:
    forsaken = Forsaken()
    assert forsaken.look([], [working()]) == [], "won between the two looks"
    assert forsaken.look([CLAIM], [working()]) == []
    assert forsaken.look([], [working("b")]) == [], "other work, other claim"
    assert forsaken.look([], []) == forsaken.look([], [working("b")]) == []


def test_a_table_tells_only_what_every_process_can_write() -> None:
    table = DeadlineTable(4)
    assert not table.tells(2), "nobody has written: it may be a pool of threads"
    table.write(1, working())
    table.clear(1)
    assert table.tells(4)
    assert not table.tells(5)
