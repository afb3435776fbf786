"""Breaks of admission: exact limits, fair turns, places that stay free."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ADMISSION = "migrations/sql/0001_admission.sql"
KEYS = "migrations/sql/0001_concurrency.sql"
TESTS = "tests/integration/db/test_admission.py"
KEY_TESTS = "tests/integration/db/test_concurrency_keys.py"

LOOKS = "tests/unit/engine/test_admission.py"

MUTANTS = [
    Mutant(
        "each look of the admitter counts all steps twice",
        "app/services/admission.py",
        "if self._clock() - self._read_at > fresh_for_s:",
        "if fresh_for_s:",
        f"{LOOKS}::test_the_admitter_reads_the_loads_for_itself_only_once_in_a_while",
    ),
    Mutant(
        "no lock on the limit row",
        ADMISSION,
        "l.max_running_steps IS NOT NULL)\n  FOR NO KEY UPDATE;\n  IF most IS NULL",
        "l.max_running_steps IS NOT NULL);\n  IF most IS NULL",
        f"{TESTS}::test_a_submission_waits_for_the_one_that_counts",
    ),
    Mutant(
        "first come, first served among tenants",
        ADMISSION,
        "ORDER BY t.paid - t.cost / t.weight, t.idle, t.tenant_id, t.priority DESC, t.id LIMIT p_room",
        "ORDER BY t.id LIMIT p_room",
        f"{TESTS}::test_shares_follow_the_weights",
    ),
    Mutant(
        "weights do not matter",
        ADMISSION,
        "ORDER BY w.priority DESC, w.id) / w.weight AS paid",
        "ORDER BY w.priority DESC, w.id) AS paid",
        f"{TESTS}::test_shares_follow_the_weights",
    ),
    Mutant(
        "a tenant that was away catches up",
        ADMISSION,
        "SELECT f.tenant_id, greatest(f.finish, p_clock) AS base",
        "SELECT f.tenant_id, f.finish AS base",
        f"{TESTS}::test_a_newcomer_is_served_at_once_and_gains_nothing_for_having_been_away",
    ),
    Mutant(
        "the end of a run wakes nobody",
        ADMISSION,
        "UPDATE fair_queues f SET parked_until = clock_timestamp() FROM (",
        "UPDATE fair_queues f SET parked_until = f.parked_until FROM (",
        f"{TESTS}::test_a_place_is_free_when_its_run_ends_rests_or_is_cancelled",
    ),
    Mutant(
        "no lock on a key",
        KEYS,
        "WHERE tenant_id = p_tenant AND key = name FOR NO KEY UPDATE;",
        "WHERE tenant_id = p_tenant AND key = name;",
        f"{KEY_TESTS}::test_a_submission_waits_for_the_one_that_holds_the_key",
    ),
    Mutant(
        "who comes later overtakes those that wait for the key",
        KEYS,
        "CASE WHEN key_awaited(p_tenant, k.key) THEN 2147483647 ELSE",
        "CASE WHEN false THEN 2147483647 ELSE",
        f"{KEY_TESTS}::test_who_comes_later_does_not_overtake",
    ),
    Mutant(
        "the place under a key is not given back",
        KEYS,
        "UPDATE concurrency_keys SET due_at = clock_timestamp() WHERE tenant_id = p_tenant AND key IN (",
        "UPDATE concurrency_keys SET due_at = due_at WHERE tenant_id = p_tenant AND key IN (",
        f"{KEY_TESTS}::test_the_oldest_comes_next_and_each_end_wakes_one",
    ),
    Mutant(
        "places under keys are given in the transaction of an admission",
        "app/db/admission.py",
        """    system.call("SELECT unblock_keys(%s)", (KEYS_AT_ONCE,))
    rows = system.call(
        "SELECT tenant_id,""",
        """    rows = system.call(
        "SELECT unblock_keys(500); SELECT tenant_id,""",
        f"{KEY_TESTS}::test_a_submission_waits_for_no_admission",
    ),
    Mutant(
        "a run that comes back waits for a key that nobody looks at",
        "app/services/admission.py",
        "return store.relist_waiting(system) + store.wake_keys(system)",
        "return store.relist_waiting(system)",
        f"{KEY_TESTS}::test_a_run_that_comes_back_when_its_key_is_forgotten_gets_a_place",
    ),
    Mutant(
        "a key that was held when a run came back is not looked at again",
        KEYS,
        "ON CONFLICT (tenant_id, key) DO UPDATE SET due_at = excluded.due_at WHERE k.due_at IS NULL;",
        "ON CONFLICT (tenant_id, key) DO NOTHING;",
        f"{KEY_TESTS}::test_a_run_that_comes_back_while_its_key_is_held_gets_a_place",
    ),
    Mutant(
        "a waiting run is sent",
        "migrations/sql/0001_control.sql",
        "goes := r.state IN ('queued', 'running') AND r.admitted_at IS NOT NULL OR",
        "goes := r.state IN ('queued', 'running') OR",
        f"{TESTS}::test_a_waiting_run_lists_nothing_to_send",
    ),
]
