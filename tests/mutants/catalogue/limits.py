"""Breaks of time limits, of steps as well as of runs."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DEADLINES = "tasks/deadlines.py"
TEST_TABLE = "tests/unit/engine/test_deadlines.py"

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
]
