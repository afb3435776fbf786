"""Breaks of fans with places, of sub-workflows."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CONTROL = "migrations/sql/0001_control.sql"
FANS = "migrations/sql/0001_fans.sql"
STEERING = "migrations/sql/0001_steering.sql"
NESTING = "migrations/sql/0001_nesting.sql"
TABLES = "migrations/sql/0001_tables.sql"
FUNCTIONS = "migrations/sql/0001_functions.sql"
CHILDREN_DB = "app/db/nesting.py"
TEST_FANS = "tests/integration/db/test_fans.py"
TEST_NESTING = "tests/integration/db/test_nesting.py"

MUTANTS = [
    Mutant(
        "children of one tenant that cannot be brought in line keep the others from it",
        "app/db/nesting.py",
        "  ) due ORDER BY turn LIMIT {limit}",
        "  ) due ORDER BY tenant_id LIMIT {limit}",
        "tests/integration/db/test_nesting.py::test_children_of_one_tenant_keep_nobody_elses_from_recovery",
    ),
    Mutant(
        "what decides every item of a wide fan is read at once",
        "migrations/sql/0001_control.sql",
        "AND o.undecided <= 50",
        "AND o.undecided <= 5000",
        "tests/integration/db/test_nesting.py"
        "::test_of_many_items_that_are_runs_some_come_with_what_decides_them",
    ),
    Mutant(
        "max_parallel is ignored",
        CONTROL,
        "SELECT (definition ->> 'max_parallel')::integer INTO places",
        "SELECT NULL::integer INTO places",
        f"{TEST_FANS}::test_an_item_that_ends_hands_its_place_on_in_the_same_transaction",
    ),
    Mutant(
        "an ended item keeps its place",
        FANS,
        "IF p_item.needs_left > 0 OR",
        "IF true OR",
        f"{TEST_FANS}::test_two_that_end_at_once_release_two",
    ),
    Mutant(
        "a skipped item gives a place that it never had",
        FANS,
        "IF p_item.needs_left > 0 OR p_fan.needs_left",
        "IF p_fan.needs_left",
        f"{TEST_FANS}::test_a_skip_frees_only_a_place_that_was_taken",
    ),
    Mutant(
        "a retry forgets max_parallel",
        STEERING,
        "ON w.key = k\n",
        "ON false\n",
        f"{TEST_FANS}::test_an_operators_retry_runs_the_failed_items_alone_within_the_places",
    ),
    Mutant(
        "the place is searched from the first item on",
        FANS,
        "      AND i.item > p_item.item AND i.state || '' = 'pending' ORDER BY",
        "      AND i.item >= 0 AND i.state = 'pending' ORDER BY",
        f"{TEST_FANS}::test_the_last_of_three_thousand_items_costs_what_the_first_costs",
    ),
    Mutant(
        "a step may become two runs",
        TABLES,
        "CREATE UNIQUE INDEX runs_child ON",
        "CREATE INDEX runs_child ON",
        f"{TEST_NESTING}::test_a_step_becomes_one_run_only",
    ),
    Mutant(
        "whoever calls second begins another child",
        NESTING,
        "  IF NOT FOUND THEN\n    RETURN;\n  END IF;\n  r := begun(r);",
        "  r := begun(r);",
        f"{TEST_NESTING}::test_two_that_call_at_once_begin_one_child",
    ),
    Mutant(
        "a parent's step is concluded twice",
        NESTING,
        "    AND state = 'waiting' AND not_before IS NULL AND tries = c.parent_try RETURNING * INTO s;",
        "    AND tries = c.parent_try RETURNING * INTO s;",
        f"{TEST_NESTING}::test_the_childs_end_ends_the_step_once",
    ),
    Mutant(
        "a child of an earlier round ends the step",
        NESTING,
        "    AND state = 'waiting' AND not_before IS NULL AND tries = c.parent_try RETURNING * INTO s;",
        "    AND state = 'waiting' AND not_before IS NULL RETURNING * INTO s;",
        f"{TEST_NESTING}::test_a_late_word_of_an_earlier_round_changes_nothing",
    ),
    Mutant(
        "a child ends its step without its parent's lock",
        NESTING,
        "WHERE tenant_id = p_tenant AND id = p_child) FOR NO KEY UPDATE;",
        "WHERE tenant_id = p_tenant AND id = p_child);",
        f"{TEST_NESTING}::test_the_end_of_a_child_waits_for_its_parents_lock_and_reads_the_child_after_it",
    ),
    Mutant(
        "a sub-workflow's end is the intent's",
        FUNCTIONS,
        "    AND p_run.parent_run_id IS NULL; -- a sub-workflow's end is not the intent's",
        "    AND true;",
        f"{TEST_NESTING}::test_the_childs_end_ends_the_step_once",
    ),
    Mutant(
        "a cancelled run does not wait for its children",
        "migrations/sql/0001_limits.sql",
        "    OR state = 'waiting' AND (is_fan OR operation <> 'workflow' OR not_before IS NOT NULL));",
        "    OR state = 'waiting');",
        f"{TEST_NESTING}::test_a_cancelled_parent_waits_for_its_children",
    ),
    Mutant(
        "a retry begins another child though the spec is the same",
        NESTING,
        "IF last.state = 'failed' AND last.spec = p_spec THEN",
        "IF false THEN",
        f"{TEST_NESTING}::test_a_failed_child_goes_on_when_its_parent_is_retried",
    ),
    Mutant(
        "nobody looks for children whose parent has not heard of their end",
        CHILDREN_DB,
        "CASE WHEN s.tries = c.parent_try THEN 'tell'",
        "CASE WHEN s.tries < c.parent_try THEN 'tell'",
        f"{TEST_NESTING}::test_recovery_lists_what_is_due_across_tenants",
    ),
]
