"""Breaks of waits, of signals, of needs with an outcome."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

WAITS = "migrations/sql/0001_waits.sql"
STEERING = "migrations/sql/0001_steering.sql"
TEST_WAITS = "tests/integration/db/test_waits.py"
TEST_OUTCOMES = "tests/integration/db/test_outcomes.py"

MUTANTS = [
    Mutant(
        "a vote without the run's lock",
        WAITS,
        "id = p_run FOR NO KEY UPDATE;\n  s := waiting_for(r, p_name);",
        "id = p_run;\n  s := waiting_for(r, p_name);",
        f"{TEST_WAITS}::test_a_vote_waits_for_the_one_before_it",
    ),
    Mutant(
        "decisions of earlier rounds count",
        WAITS,
        "AND step_key = s.key AND round = s.round\n    AND decision IS NOT NULL",
        "AND step_key = s.key\n    AND decision IS NOT NULL",
        f"{TEST_WAITS}::test_one_rejection_fails_the_step_a_retry_asks_everybody_again",
    ),
    Mutant(
        "a signal is consumed by everybody",
        WAITS,
        "AND k.name = s.input ->> 'signal' AND k.step_key IS NULL ORDER BY",
        "AND k.name = s.input ->> 'signal' ORDER BY",
        f"{TEST_WAITS}::test_signals_are_consumed_once_in_order_also_early_ones",
    ),
    Mutant(
        "a signal that did not come is as good as one that did",
        WAITS,
        "FROM end_wait(r, s, 'failed', NULL,",
        "FROM end_wait(r, s, 'succeeded', NULL,",
        f"{TEST_WAITS}::test_a_signal_that_does_not_come_fails_its_step",
    ),
    Mutant(
        "a condition outweighs a failure above",
        WAITS,
        "        WHEN news.blocked THEN jsonb_build_object('code', 'upstream_failed', 'step', p_step.base)\n",
        "        WHEN news.blocked AND news.unmet IS NULL AND s.error IS NULL"
        " THEN jsonb_build_object('code', 'upstream_failed', 'step', p_step.base)\n",
        f"{TEST_OUTCOMES}::test_the_verdict_waits_for_the_last_need",
    ),
    Mutant(
        "items of a fan run beside the step that it waits for again",
        STEERING,
        "  IF behind <> '{}' THEN",
        "  IF false THEN",
        f"{TEST_OUTCOMES}::test_a_fan_that_ran_in_spite_of_a_failure_decides_anew_behind_it",
    ),
    Mutant(
        "a retry forgets the need that ended well",
        STEERING,
        "WHEN w.outcomes IS NOT NULL THEN unmet_need(",
        "WHEN false THEN unmet_need(",
        f"{TEST_OUTCOMES}::test_the_verdict_waits_for_the_last_need",
    ),
]
