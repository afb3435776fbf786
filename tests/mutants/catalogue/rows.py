"""Breaks of the SQL functions, of the policies, of the transitions."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FUNCTIONS = "migrations/sql/0001_functions.sql"
CONTROL = "migrations/sql/0001_control.sql"
RECOVERY = "migrations/sql/0001_recovery.sql"
POLICIES = "migrations/sql/0001_policies.sql"
DB = "tests/integration/db"
RLS = "tests/integration/rls/test_isolation.py"

MUTANTS = [
    Mutant(
        "no lock at the join",
        FUNCTIONS,
        "id = p_run FOR NO KEY UPDATE;\n  IF r.state = 'cancelling' THEN",
        "id = p_run;\n  IF r.state = 'cancelling' THEN",
        f"{DB}/test_races.py::test_last_open_steps_finish_together",
    ),
    Mutant(
        "no compare-and-set in finish",
        FUNCTIONS,
        "key = p_key AND state = 'running' AND tries = p_tries\n    RETURNING",
        "key = p_key AND tries = p_tries\n    RETURNING",
        f"{DB}/test_steps.py::test_finish_is_compare_and_set",
    ),
    Mutant(
        "no fencing by tries",
        FUNCTIONS,
        "key = p_key AND state = 'running' AND tries = p_tries\n    RETURNING",
        "key = p_key AND state = 'running'\n    RETURNING",
        f"{DB}/test_steps.py::test_late_owner_is_fenced",
    ),
    Mutant(
        "claim of any dispatch epoch",
        FUNCTIONS,
        "      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL\n      AND u.tenant_id",
        "      AND t.sent_at IS NOT NULL\n      AND u.tenant_id",
        f"{DB}/test_steps.py::test_claims_out_of_time",
    ),
    Mutant(
        "claim by a void message",
        FUNCTIONS,
        "      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL\n      AND u.tenant_id",
        "      AND t.dispatch_epoch = p_epoch\n      AND u.tenant_id",
        f"{DB}/test_repair.py::test_retry_runs_only_what_failed_or_never_ran",
    ),
    Mutant(
        "kill cap gone",
        FUNCTIONS,
        "IF counted AND s.kills >= 2 THEN",
        "IF false THEN",
        f"{DB}/test_steps.py::test_third_kill_poisons",
    ),
    Mutant(
        "canvas goes on after a retry",
        FUNCTIONS,
        "AND carrier = p_carrier AND state || '' = 'pending'\n    AND sent_at IS NOT NULL",
        "AND carrier = p_carrier AND state || '' = 'pending'\n    AND false",
        f"{DB}/test_steps.py::test_retry_breaks_the_canvas_and_waits",
    ),
    Mutant(
        "event numbered before its commit",
        "migrations/sql/0001_events.sql",
        "actor, shard, trace)\n  VALUES (p_tenant, p_subject, p_seq, 'io.quantum.' || p_type, p_data,"
        " p_actor,",
        "actor, position, shard, trace)\n  VALUES (p_tenant, p_subject, p_seq, 'io.quantum.' || p_type,"
        " p_data, p_actor, (SELECT coalesce(max(position), 0) + 1 FROM events),",
        f"{DB}/test_races.py::test_lower_event_that_commits_late_is_numbered_later",
    ),
    Mutant(
        "fan expanded twice",
        CONTROL,
        "key = p_base AND is_fan AND state = 'ready'",
        "key = p_base AND is_fan",
        f"{DB}/test_races.py::test_two_expansions_write_the_items_once",
    ),
    Mutant(
        "step marked as sent twice",
        CONTROL,
        "AND s.sent_at IS NULL AND NOT s.is_fan",
        "AND NOT s.is_fan",
        f"{DB}/test_races.py::test_two_advances_mark_a_step_once",
    ),
    Mutant(
        "retry runs finished items again",
        "migrations/sql/0001_steering.sql",
        "FROM unnest(p_keys) i WHERE p.is_fan AND starts_with(i, p.base || '.')) AS items",
        "FROM run_steps i WHERE i.run_id = p_run.id AND i.base = p.base AND i.item >= 0) AS items",
        f"{DB}/test_repair.py::test_retry_of_a_fan_runs_its_failed_items_alone",
    ),
    Mutant(
        "workers dead at once after an outage",
        RECOVERY,
        "IF tick_clock(p_interval * greatest(p_misses - 1, 1)) < patience THEN",
        "IF tick_clock(p_interval * greatest(p_misses - 1, 1)) < interval '0' THEN",
        f"{DB}/test_repair.py::test_nobody_is_dead_before_heartbeats_could_arrive",
    ),
    Mutant(
        "claim planned over the list of sent steps",
        "migrations/sql/0001_tables.sql",
        "ON run_steps (tenant_id, queue, ready_at)\n  WHERE state || '' = 'ready' AND sent_at IS NOT NULL;",
        "ON run_steps (tenant_id, queue, ready_at)\n  WHERE state = 'ready' AND sent_at IS NOT NULL;",
        f"{DB}/test_list_plans.py::test_lookups_go_by_primary_key_from_the_first_row",
    ),
    Mutant(
        "policy dropped",
        POLICIES,
        "'intent_labels', 'runs', 'run_steps'",
        "'intent_labels', 'run_steps'",
        f"{RLS}::test_without_a_tenant_there_are_no_rows",
    ),
    Mutant(
        "policy without its check of writes",
        POLICIES,
        "WITH CHECK (tenant_id = (SELECT NULLIF(current_setting(''app.tenant_id'', true), '''')::uuid))'",
        "WITH CHECK (true)'",
        f"{RLS}::test_no_write_into_a_tenant_that_is_not_set",
    ),
    Mutant(
        "relation without a decision",
        "migrations/sql/0001_seed.sql",
        "INSERT INTO roles",
        "CREATE TABLE undecided (id integer);\nINSERT INTO roles",
        f"{RLS}::test_every_relation_is_decided",
    ),
    Mutant(
        "illegal transition accepted",
        "migrations/sql/0001_transitions.sql",
        "'cancelled>compensating') THEN",
        "'cancelled>compensating', 'succeeded>running') THEN",
        f"{DB}/test_transitions.py::test_every_pair_of_states",
    ),
]
