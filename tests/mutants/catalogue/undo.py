"""Breaks of compensation."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

UNDO = "migrations/sql/0001_undo.sql"
FUNCTIONS = "migrations/sql/0001_functions.sql"
STEERING = "migrations/sql/0001_steering.sql"
TESTS = "tests/integration/db/test_undo.py"

MUTANTS = [
    Mutant(
        "compensations run in the order of completion",
        UNDO,
        "WINDOW latest AS (ORDER BY s.finished_at DESC, s.seq DESC, s.item DESC, s.key DESC)",
        "WINDOW latest AS (ORDER BY s.finished_at, s.seq, s.item, s.key)",
        f"{TESTS}::test_a_failed_run_undoes_what_completed_in_reverse_order",
    ),
    Mutant(
        "compensations run in the reverse order of the plan",
        UNDO,
        "WINDOW latest AS (ORDER BY s.finished_at DESC, s.seq DESC,",
        "WINDOW latest AS (ORDER BY s.seq DESC,",
        f"{TESTS}::test_the_order_is_that_of_the_ends_not_of_the_plan",
    ),
    Mutant(
        "compensations run all at once",
        UNDO,
        "CASE d.n WHEN 1 THEN 'ready' ELSE 'pending' END",
        "CASE WHEN true THEN 'ready' ELSE 'pending' END",
        f"{TESTS}::test_a_failed_run_undoes_what_completed_in_reverse_order",
    ),
    Mutant(
        "a resumed compensation undoes again what was undone",
        UNDO,
        "AND undoes IS NOT NULL AND state IN ('failed', 'cancelled');",
        "AND undoes IS NOT NULL AND state IN ('failed', 'cancelled', 'succeeded');",
        f"{TESTS}::test_a_failing_compensation_stops_the_chain_a_retry_goes_on_from_there",
    ),
    Mutant(
        "a process that died finishes the compensation it had",
        FUNCTIONS,
        "AND run_id = p_run AND key = p_key AND state = 'running' AND tries = p_tries\n    RETURNING *",
        "AND run_id = p_run AND key = p_key AND state IN ('running', 'ready')\n    RETURNING *",
        f"{TESTS}::test_an_undo_is_retried_and_recovered_like_any_step",
    ),
    Mutant(
        "every cancelled run is undone",
        UNDO,
        "SELECT r.compensation = 'wanted' OR",
        "SELECT true OR",
        f"{TESTS}::test_a_cancelled_run_is_undone_on_request_only",
    ),
    Mutant(
        "a failed compensation looks complete",
        UNDO,
        "AND s.undoes IS NOT NULL AND s.state = 'failed' LIMIT 1;",
        "AND s.undoes IS NOT NULL AND s.state = 'poisoned' LIMIT 1;",
        f"{TESTS}::test_a_failing_compensation_stops_the_chain_a_retry_goes_on_from_there",
    ),
    Mutant(
        "a cancelled run ends failed because it was undone",
        UNDO,
        "final := CASE WHEN r.error ->> 'code' = 'cancelled' THEN 'cancelled' ELSE 'failed' END;",
        "final := 'failed';",
        f"{TESTS}::test_a_cancelled_run_is_undone_on_request_only",
    ),
    Mutant(
        "a fan counts as undone by its first item",
        UNDO,
        "AND i.item IS NOT NULL AND i.state IN ('succeeded', 'compensating')",
        "AND i.item IS NOT NULL AND i.state = 'ready'",
        f"{TESTS}::test_an_undo_sees_its_step_s_input_output_and_item",
    ),
    Mutant(
        "a retry leaves out what depends on the undone",
        UNDO,
        "SELECT unnest(s.successors) FROM down d JOIN base s ON s.key = d.key\n  )\n  SELECT ARRAY(",
        "SELECT s.key FROM down d JOIN base s ON s.key = d.key\n  )\n  SELECT ARRAY(",
        f"{TESTS}::test_a_retry_after_a_compensation_runs_again_what_was_undone_with_what_depends_on_it",
    ),
    Mutant(
        "one step of a compensated run is retried",
        STEERING,
        "ELSIF r.compensation IS NOT NULL AND p_from IS NOT NULL THEN",
        "ELSIF false THEN",
        f"{TESTS}::test_a_retry_after_a_compensation_runs_again_what_was_undone_with_what_depends_on_it",
    ),
]
