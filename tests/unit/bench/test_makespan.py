"""The schedule without overhead that the makespans are compared with."""

from __future__ import annotations

import pytest

from bench.makespan import Work, work_of

DIAMOND = Work(
    "diamond", {"a": 1, "b": 2, "c": 3, "d": 1}, {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
)
WIDE = Work("wide", dict.fromkeys("abcde", 2.0), {step: [] for step in "abcde"})


@pytest.mark.parametrize(
    ("work", "slots", "bound", "ideal"),
    [(DIAMOND, 2, 5, 5), (DIAMOND, 1, 7, 7), (WIDE, 2, 5, 6), (WIDE, 8, 2, 2)],
)
def test_the_ideal_is_never_below_its_bound(work: Work, slots: int, bound: float, ideal: float) -> None:
    assert (work.bound(slots), work.ideal(slots)) == (bound, ideal)


def test_who_was_ready_first_begins_first() -> None:
    # On one slot `late` becomes ready while `b` waits already, so the long step behind it begins last.
    work = Work(
        "order", {"a": 1, "b": 1, "late": 1, "long": 5}, {"a": [], "b": [], "late": ["a"], "long": ["late"]}
    )
    assert work.ideal(1) == 8
    assert work.ideal(2) == 7


def test_levels_are_what_a_chain_of_groups_waits_for() -> None:
    assert DIAMOND.levels() == [["a"], ["b", "c"], ["d"]]


def test_steps_come_after_their_needs_whatever_the_file_says() -> None:
    steps = [
        {"id": "z", "needs": ["y"], "with": {"seconds": 1}},
        {"id": "y", "needs": [], "with": {"seconds": 2}},
    ]
    assert list(work_of({"name": "n", "steps": steps}).seconds) == ["y", "z"]
