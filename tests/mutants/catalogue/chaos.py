"""Mutants of the chaos checker, which must not be blind, with those that overlapping transactions find."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CHECKER = "tests/integration/chaos/test_checker.py::test_each_harm_is_found"
REPORT = "tests/unit/chaos/test_report.py"
MODEL = "tests/integration/model/test_model.py::test_every_interleaving_keeps_the_promises"

MUTANTS = [
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
        MODEL,
    ),
]
