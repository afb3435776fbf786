"""Breaks of fans with places, of sub-workflows."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CONTROL = "migrations/sql/0001_control.sql"
FANS = "migrations/sql/0001_fans.sql"
STEERING = "migrations/sql/0001_steering.sql"
TEST_FANS = "tests/integration/db/test_fans.py"

MUTANTS = [
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
]
