"""Breaks of the operators' hands: holds that hold nothing, orders that count against the step."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TESTS = "tests/integration/db/test_hands.py"
ASKED = (
    "AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN"
    " ('*', 'tenant/' || p_tenant, 'worker/' || p_worker))"
)

MUTANTS = [
    Mutant(
        "two commands exchange the same refresh token",
        "app/commands/shell.py",
        "            if kept == self._saved:  # else another command has renewed it\n",
        "            if True:\n",
        "tests/unit/client/test_long_calls.py::test_of_two_commands_one_renews_their_token",
    ),
    Mutant(
        "who watches gives up at the first missing answer",
        "app/client/watching.py",
        "if not is_away(fault) or clock() > until:",
        "if True:",
        "tests/unit/client/test_long_calls.py::test_who_watches_waits_for_an_api_that_is_away",
    ),
    Mutant(
        "a worker that was replaced stays lost",
        "app/db/workers.py",
        "n.hostname = w.hostname AND n.started_at > w.started_at",
        "n.hostname = w.hostname AND false",
        "tests/integration/observability/test_metrics.py"
        "::test_a_worker_that_died_is_lost_until_another_of_its_name_comes",
    ),
    Mutant(
        "work that has just been claimed counts as forsaken",
        "tasks/orphans.py",
        "return [step for step in lost if step in before]",
        "return lost",
        "tests/unit/engine/test_orphans.py::test_work_is_not_forsaken_before_its_claim_could_be_seen_nor_once_it_has_one",
    ),
    Mutant(
        "a claim does not ask for holds",
        "migrations/sql/0001_functions.sql",
        f"      {ASKED}\n    RETURNING t AS step",
        "    RETURNING t AS step",
        f"{TESTS}::test_what_a_draining_worker_executes_it_ends_and_its_stretch_stops",
    ),
    Mutant(
        "a stretch goes on in a draining worker",
        "migrations/sql/0001_stretches.sql",
        f"        {ASKED}\n",
        "",
        f"{TESTS}::test_what_a_draining_worker_executes_it_ends_and_its_stretch_stops",
    ),
    Mutant(
        "a draining worker takes the loose steps of a lot",
        "migrations/sql/0001_lots.sql",
        f"    {ASKED}\n",
        "",
        f"{TESTS}::test_no_loose_step_of_a_lot_is_taken_by_a_draining_worker",
    ),
    Mutant(
        "a quarantine counts as a kill",
        "migrations/sql/0001_functions.sql",
        "AND p_error ->> 'code' IS DISTINCT FROM 'worker_quarantined'",
        "",
        f"{TESTS}::test_what_a_quarantined_worker_runs_is_taken_back_and_counts_as_nothing",
    ),
    Mutant(
        "what comes in maintenance is admitted",
        "migrations/sql/0001_admission.sql",
        "  IF held THEN\n    RETURN ARRAY(SELECT (i ->> 'run_id')::uuid",
        "  IF false THEN\n    RETURN ARRAY(SELECT (i ->> 'run_id')::uuid",
        f"{TESTS}::test_what_comes_meanwhile_is_accepted_and_waits_for_admission",
    ),
    Mutant(
        "the dispatcher goes on in maintenance",
        "migrations/sql/0001_recovery.sql",
        "WHERE h.name IN ('*', 'tenant/' || s.tenant_id))\n      ORDER BY turn, s.ready_at",
        "WHERE false)\n      ORDER BY turn, s.ready_at",
        f"{TESTS}::test_nothing_is_sent_meanwhile",
    ),
    Mutant(
        "a restore leaves the epochs of messages as they were",
        "app/runtime/backup.py",
        "SET dispatch_epoch = dispatch_epoch + %(epochs)s, sent_at = NULL",
        "SET sent_at = NULL",
        "tests/integration/runtime/test_backup.py::test_the_drill_with_backups_in_a_container",
    ),
    Mutant(
        "the end of a sealed file is not marked",
        "app/security/sealed_stream.py",
        'number.to_bytes(4, "big") + bytes([last])',
        'number.to_bytes(4, "big") + bytes([0 * last])',
        "tests/integration/runtime/test_backup.py::test_a_stream_comes_back_and_a_cut_at_any_piece_shows",
    ),
    Mutant(
        "an order in force is ordered again",
        "app/services/manage_workers.py",
        "        if wanted != present:\n",
        "        if True:\n",
        "tests/integration/api/test_platform.py::test_an_order_is_compared_and_set_audited_and_idempotent",
    ),
]
