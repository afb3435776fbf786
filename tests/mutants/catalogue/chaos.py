"""Mutants of the chaos checker, which must not be blind, with those that overlapping transactions find."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CHECKER = "tests/integration/chaos/test_checker.py::test_each_harm_is_found"
REPORT = "tests/unit/chaos/test_report.py"
MODEL = "tests/integration/model/test_model.py::test_every_interleaving_keeps_the_promises"

LOST = "tests/integration/engine/test_lost_answers.py"

MUTANTS = [
    Mutant(
        "a step claimed by an unheard commit is left behind",
        "app/services/execute.py",
        "unheard or (ahead(True) if done else None))",
        "ahead(True) if done else None)",
        f"{LOST}::test_who_claimed_the_next_step_unheard_goes_on_with_it_however_long_that_took",
    ),
    Mutant(
        "who asks again for its own claim loses it",
        "migrations/sql/0001_functions.sql",
        "(s.state IS DISTINCT FROM 'running' OR s.lease_boot <> p_boot",
        "(s.state IS DISTINCT FROM 'running' OR s.lease_boot = p_boot",
        f"{LOST}::test_a_step_whose_claim_or_end_was_committed_unheard_runs_once",
    ),
    Mutant(
        "the chaos checker forgives a step taken from a process that lived",
        "tests/chaos/checker.py",
        'if row["pid"] not in scene.killed_children and row["parent"] not in scene.fleet.ended:',
        'if row["parent"] in scene.fleet.ended:',
        CHECKER,
    ),
    Mutant(
        "the chaos checker takes a stream with a gap for whole",
        "tests/chaos/checker.py",
        'if found != row["told"]:',
        "if found != sorted(found):",
        CHECKER,
    ),
    Mutant(
        "the chaos checker overlooks an exceeded limit",
        "tests/chaos/limits.py",
        "            if highest > most:\n",
        "            if highest > most + 1:\n",
        CHECKER,
    ),
    Mutant(
        "the chaos checker takes any order of compensations",
        "tests/chaos/limits.py",
        'if row["undone"] != row["owed"]:',
        'if set(row["undone"]) != set(row["owed"]):',
        CHECKER,
    ),
    Mutant(
        "a saturated worker seems to have an idle process",
        "app/db/workers.py",
        '" >= jsonb_array_length(w.children)"',
        '" > jsonb_array_length(w.children)"',
        "tests/integration/db/test_busy_queues.py::"
        "test_a_queue_is_busy_while_one_of_its_workers_has_no_idle_process",
    ),
    Mutant(
        "the chaos table forgives a missed target",
        "tests/chaos/report.py",
        "return bool(self.lost or self.twice or late or",
        "return bool(self.lost or self.twice or",
        f"{REPORT}::test_a_line_is_bad",
    ),
    Mutant(
        "a finisher reads its run without locking it",
        "migrations/sql/0001_functions.sql",
        "id = p_run FOR NO KEY UPDATE;\n  IF r.state = 'cancelling' THEN\n    IF p_outcome",
        "id = p_run;\n  IF r.state = 'cancelling' THEN\n    IF p_outcome",
        "tests/integration/db/test_races.py::test_last_open_steps_finish_together",
    ),
]
