"""The table of the chaos runs: whom it blames, what it does not forgive."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.chaos.faults import FAULTS, named
from tests.chaos.finding import Finding
from tests.chaos.report import Injection, Line, lines

CHILD, WORKER = FAULTS[:2]


def test_a_finding_belongs_to_the_last_harm_before_its_run_ended() -> None:
    injections = [Injection(CHILD, 10, 60, 1, 9, 1.0), Injection(WORKER, 20, 60, 1, 9, 7.0)]
    early, late = uuid4(), uuid4()
    findings = [Finding("duplicated", "", early), Finding("lost", "", late), Finding("leaked", "", late)]
    table = lines(injections, findings, {early: 15, late: 25})
    assert [(line.fault, line.lost, line.twice) for line in table] == [(CHILD, 0, 1), (WORKER, 2, 0)]


@pytest.mark.parametrize(
    ("seconds", "lost", "twice", "bad"),
    [
        ([1.0], 0, 0, False),
        ([1.0], 1, 0, True),
        ([1.0], 0, 1, True),
        ([None], 0, 0, True),
        ([2.5] * 10, 0, 0, True),
        ([2.5] * 9, 0, 0, False),
    ],
)
def test_a_line_is_bad(seconds: list[float | None], lost: int, twice: int, bad: bool) -> None:
    line = Line(CHILD, [Injection(CHILD, 1, 60, 1, 9, each) for each in seconds], lost, twice)
    assert line.bad() is bad
    assert "pool child killed" in str(line)


def test_the_95th_percentile_forgives_one_of_twenty() -> None:
    good = [Injection(CHILD, n, 60, 1, 9, 1.0) for n in range(19)]
    late = Injection(CHILD, 20, 60, 1, 9, 9.0)
    assert not Line(CHILD, [*good, late], 0, 0).bad()
    assert Line(CHILD, [*good[:18], late, late], 0, 0).bad()
    assert Line(CHILD, [*good[:9], late], 0, 0).bad()


def test_faults_are_chosen_by_words() -> None:
    assert {fault.name for fault in named(["valkey"])} == {
        "Valkey killed",
        "Valkey FLUSHALL",
        "Valkey away",
        "Valkey memory full",
    }
    with pytest.raises(SystemExit):
        named(["earthquake"])
