"""Breaks of schedules."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DOMAIN = "app/domain/schedules.py"
API = "tests/integration/api/test_schedules.py"

MUTANTS = [
    Mutant(
        "two beats look at the same schedule",
        "app/db/schedules.py",
        "ORDER BY id FOR UPDATE SKIP LOCKED)",
        "ORDER BY id)",
        f"{API}::test_two_beats_fire_each_once",
    ),
    Mutant(
        "a place in the timetable is decided twice",
        DOMAIN,
        "        if first not in standing.known:\n",
        "        if True:\n",
        f"{API}::test_a_clock_that_steps_back_doubles_nothing",
    ),
    Mutant(
        "the history is written after the commit of the intent",
        "app/services/fire_schedules.py",
        "        if turns:\n            store.note(",
        "        connection.commit()\n        if turns:\n            store.note(",
        f"{API}::test_dying_between_declaring_and_noting_leaves_neither",
    ),
    Mutant(
        "an unfinished run is nobody's concern",
        DOMAIN,
        "busy, queued = standing.rules, bool(standing.open_runs or standing.queued),",
        "busy, queued = standing.rules, False,",
        f"{API}::test_overlap_skips_then_goes_on",
    ),
]
