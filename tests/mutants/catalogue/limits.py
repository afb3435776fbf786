"""Breaks of time limits, of steps as well as of runs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DEADLINES = "tasks/deadlines.py"
TEST_TABLE = "tests/unit/engine/test_deadlines.py"
LIMITS = "migrations/sql/0001_limits.sql"
TEST_LIMITS = "tests/integration/db/test_limits.py"

MUTANTS = [
    Mutant(
        "the hard limit only interrupts again",
        DEADLINES,
        "self._once(slot, step, hard=True)",
        "self._once(slot, step, hard=False)",
        f"{TEST_TABLE}::test_a_step_is_told_once_softly_and_once_hard",
    ),
    Mutant(
        "a process is killed for the step of its predecessor",
        DEADLINES,
        "if born(step.child.pid) != step.child.born or",
        "if",
        f"{TEST_TABLE}::test_nobody_is_killed_for_a_process_that_is_gone",
    ),
    Mutant(
        "a step that ended keeps its limit",
        DEADLINES,
        "        self._table.clear(self._slot)\n",
        "        pass\n",
        f"{TEST_TABLE}::test_a_child_s_entry_is_read_by_its_parent_until_the_step_ends",
    ),
    Mutant(
        "a torn entry is believed",
        DEADLINES,
        "if (zlib.crc32(packed) or 1) != _CHECK.unpack_from(raw)[0]:",
        "if False:",
        f"{TEST_TABLE}::test_a_torn_entry_is_no_entry",
    ),
    Mutant(
        "a late signal hits what comes after the step",
        DEADLINES,
        "        if self._open:\n",
        "        if True:\n",
        f"{TEST_TABLE}::test_a_signal_strikes_between_begin_and_end_only",
    ),
    Mutant(
        "a deadline forgets what runs",
        LIMITS,
        "IF r.open_steps = closed THEN",
        "IF true THEN",
        f"{TEST_LIMITS}::test_running_steps_are_stopped_before_the_run_fails",
    ),
    Mutant(
        "a deadline cancels the run",
        "migrations/sql/0001_functions.sql",
        "CASE WHEN is_overdue(why) THEN 'failed' WHEN",
        "CASE WHEN",
        f"{TEST_LIMITS}::test_running_steps_are_stopped_before_the_run_fails",
    ),
    Mutant(
        "a queue time limit strikes what has begun",
        LIMITS,
        "WHEN r.started_at IS NULL AND r.begin_by",
        "WHEN r.begin_by",
        f"{TEST_LIMITS}::test_a_run_that_has_begun_has_only_its_deadline",
    ),
    Mutant(
        "a limit waits for a locked run",
        LIMITS,
        "FOR NO KEY UPDATE SKIP LOCKED;\n    CONTINUE WHEN NOT FOUND;\n    why",
        "FOR NO KEY UPDATE NOWAIT;\n    CONTINUE WHEN NOT FOUND;\n    why",
        f"{TEST_LIMITS}::test_a_locked_run_waits_for_the_next_look",
    ),
    Mutant(
        "a retried run keeps its old deadline",
        "migrations/sql/0001_steering.sql",
        "(deadline_at, due_at) = (SELECT d, d FROM",
        "(deadline_s, due_at) = (SELECT deadline_s, d FROM",
        f"{TEST_LIMITS}::test_a_run_past_its_deadline_fails_a_retry_has_as_long_again",
    ),
]
