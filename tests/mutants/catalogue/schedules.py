"""Breaks of schedules."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DOMAIN = "app/domain/schedules.py"
API = "tests/integration/api/test_schedules.py"

MUTANTS = [
    Mutant(
        "one schedule that cannot fire keeps the others of its tenant from it",
        "app/services/fire_schedules.py",
        "for one in ids) if len(ids) > 1 else 0",
        "for one in ids) if len(ids) > 1_000 else 0",
        f"{API}::test_one_schedules_fault_leaves_the_others_alone",
    ),
    Mutant(
        "a backfill looks beyond its range",
        "app/services/manage_schedules.py",
        "takewhile(lambda moment: moment <= end, times_after(store.timing_of(row), before))",
        "times_after(store.timing_of(row), before)",
        f"{API}::test_a_backfill_looks_no_further_than_its_range",
    ),
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
