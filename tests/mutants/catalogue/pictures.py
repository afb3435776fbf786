"""Breaks of a run's pictures, of its timeline."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TEST = "tests/unit/client/test_pictures.py"
TEST_TIMELINE = "tests/integration/api/test_timeline.py"

MUTANTS = [
    Mutant(
        "names are markup in a picture",
        "app/client/svg.py",
        '    return escape(_UNPRINTABLE.sub("\\ufffd", str(value)), quote=True)\n',
        '    return _UNPRINTABLE.sub("\\ufffd", str(value))\n',
        f"{TEST}::test_names_are_text_never_markup",
    ),
    Mutant(
        "names are Mermaid's own words in a chart",
        "app/client/graph_pictures.py",
        '    return _WORDY.sub(lambda found: f"#{ord(found[0])};", words)\n',
        "    return words\n",
        f"{TEST}::test_names_are_text_in_mermaid_and_dot_too",
    ),
    Mutant(
        "the critical path goes over the need that ended first",
        "app/client/portrait.py",
        "        last = max((node for node in before",
        "        last = min((node for node in before",
        f"{TEST}::test_the_critical_path_is_what_the_end_waited_for",
    ),
    Mutant(
        "a page of the timeline repeats the last of the one before",
        "app/db/timeline.py",
        "(at, source, place) > (CAST(:at AS timestamptz), :source, :place)",
        "(at, source, place) >= (CAST(:at AS timestamptz), :source, :place)",
        f"{TEST_TIMELINE}::test_its_pages_fit_together",
    ),
    Mutant(
        "a timeline shows the auditor's addresses",
        "app/db/timeline.py",
        '        if row["actor"] is not None:\n',
        "        if False:\n",
        f"{TEST_TIMELINE}::test_every_transition_is_told_in_order",
    ),
]
