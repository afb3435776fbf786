"""Breaks of the read models of usage."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SQL = "migrations/sql/0001_usage.sql"
TEST = "tests/integration/db/test_usage.py"

MUTANTS = [
    Mutant(
        "a retried run is counted twice",
        SQL,
        "  PERFORM count_runs(rows, -1);\n",
        "",
        f"{TEST}::test_a_retried_run_is_counted_as_it_ended_last",
    ),
    Mutant(
        "a run that goes on stays counted as ended",
        SQL,
        "                       'io.quantum.run.retried', 'io.quantum.run.compensating')",
        "                       'io.quantum.run.compensating')",
        f"{TEST}::test_a_retried_run_is_counted_as_it_ended_last",
    ),
    Mutant(
        "two who count take the same events",
        SQL,
        "WHERE sink = 'usage' ORDER BY shard FOR UPDATE SKIP LOCKED LOOP",
        "WHERE sink = 'usage' ORDER BY shard LOOP",
        f"{TEST}::test_one_event_at_a_time_by_two_at_once_comes_to_the_same",
    ),
    Mutant(
        "a rebuild adds to what was there",
        SQL,
        "  DELETE FROM usage_latencies WHERE tenant_id = p_tenant;\n",
        "",
        f"{TEST}::test_what_was_spoilt_is_found_and_rebuilt_from_nothing",
    ),
]
