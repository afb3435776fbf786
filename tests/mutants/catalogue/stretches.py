"""Breaks of stretches: what one process executes of a chain without a message."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STRETCH = "tasks/stretch.py"
SQL = "migrations/sql/0001_stretches.sql"
UNIT = "tests/unit/engine/test_stretch.py"
ROWS = "tests/integration/db/test_stretches.py"

MUTANTS = [
    Mutant(
        "a stretch swallows a chord carrier",
        STRETCH,
        "    if any(value and name not in PLAIN for name, value in options.items()):\n        return None\n",
        "",
        f"{UNIT}::test_what_celery_has_more_to_do_for_than_to_send_is_left_to_it",
    ),
    Mutant(
        "a stretch goes on in another queue",
        STRETCH,
        ' or options.get("queue") != queue:',
        ":",
        f"{UNIT}::test_it_ends_where_the_queue_changes",
    ),
    Mutant(
        "a stretch holds its process for ever",
        STRETCH,
        "        if self._clock() - self._began >= SECONDS_AT_MOST:\n            return None\n",
        "",
        f"{UNIT}::test_it_ends_after_two_seconds",
    ),
    Mutant(
        "a shutdown waits for the whole chain",
        STRETCH,
        " or self._closing:",
        ":",
        f"{UNIT}::test_it_ends_at_a_shutdown_which_the_parent_tells_by_shared_memory",
    ),
    Mutant(
        "what a stretch executed is sent all the same",
        STRETCH,
        "        self._request.chain = self._request.chain[:-1]\n",
        "",
        f"{UNIT}::test_it_follows_the_chain_and_leaves_what_is_left_to_celery",
    ),
    Mutant(
        "a stretch ignores a pause",
        "migrations/sql/0001_functions.sql",
        "    AND sent_at IS NOT NULL\n  RETURNING * INTO s;\n",
        "  RETURNING * INTO s;\n",
        f"{ROWS}::test_a_pause_is_seen_at_the_boundary",
    ),
    Mutant(
        "a late owner claims the next step",
        SQL,
        "  IF finished = 'finished' THEN\n",
        "  IF true THEN\n",
        f"{ROWS}::test_who_lost_its_step_claims_nothing",
    ),
]
