"""Breaks of steering: pause, skip, retry from a step, rerun."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STEERING = "migrations/sql/0001_steering.sql"
TESTS = "tests/integration/db/test_steering.py"

MUTANTS = [
    Mutant(
        "messages stay good through a pause",
        STEERING,
        "AND run_id = p_run AND state IN ('pending', 'ready') AND sent_at IS NOT NULL;",
        "AND run_id = p_run AND state IN ('pending', 'ready') AND false;",
        f"{TESTS}::test_claim_that_loses_against_a_pause",
    ),
    Mutant(
        "paused while a step runs",
        STEERING,
        "AND s.run_id = p_run AND s.state = 'running')",
        "AND s.run_id = p_run AND s.state = 'paused')",
        f"{TESTS}::test_pause_sees_a_claim_that_commits_while_it_waits",
    ),
    Mutant(
        "a skip does not wait for a claim",
        STEERING,
        "AND key = p_key FOR NO KEY UPDATE;\n  IF r.id IS NULL OR s.key IS NULL",
        "AND key = p_key;\n  IF r.id IS NULL OR s.key IS NULL",
        f"{TESTS}::test_skip_sees_a_claim_that_commits_while_it_waits",
    ),
    Mutant(
        "a retry from a step runs what another failure holds back",
        STEERING,
        "found (key) AS (SELECT key FROM down EXCEPT SELECT key FROM blocked)",
        "found (key) AS (SELECT key FROM down)",
        f"{TESTS}::test_retry_from_a_step_leaves_other_failures_alone",
    ),
    Mutant(
        "two open runs of one intent",
        STEERING,
        "  ELSIF is_occupied(r) THEN\n    RETURN 'occupied';",
        "  ELSIF false THEN\n    RETURN 'occupied';",
        f"{TESTS}::test_two_reruns_of_one_run",
    ),
]
