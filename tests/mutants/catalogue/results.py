"""Breaks of what steps tell, of what they leave behind."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

PROGRESS = "migrations/sql/0001_progress.sql"
TEST_PROGRESS = "tests/integration/db/test_progress.py"
TEST_HEARTBEAT = "tests/unit/engine/test_progress.py"

LOGS = "app/services/step_logs.py"
TEST_LOGS = "tests/unit/engine/test_step_logs.py"
TEST_LOG_ROWS = "tests/integration/db/test_step_logs.py"

ARTIFACTS = "app/services/artifacts.py"
TEST_STORES = "tests/integration/artifacts/test_stores.py"
TEST_STEPS = "tests/integration/artifacts/test_steps.py"
TEST_COLLECTION = "tests/integration/artifacts/test_collection.py"

TEST_REUSE = "tests/integration/engine/test_reuse.py"

MUTANTS = [
    Mutant(
        "outputs of a fan are read however large they are together",
        "migrations/sql/0001_fans.sql",
        "IF size > 67108864 THEN",
        "IF false THEN",
        "tests/integration/db/test_fans.py::test_outputs_that_are_too_large_together_fail_who_refers_to_them",
    ),
    Mutant(
        "a late owner reports progress",
        PROGRESS,
        "AND s.state = 'running' AND s.tries = p_tries",
        "AND s.state = 'running'",
        f"{TEST_PROGRESS}::test_a_late_owner_is_not_heard",
    ),
    Mutant(
        "progress of an earlier claim is shown",
        "app/db/reads.py",
        "\n              AND g.tries = s.tries) END AS progress",
        ") END AS progress",
        f"{TEST_PROGRESS}::test_a_late_owner_is_not_heard",
    ),
    Mutant(
        "each report of progress is an errand",
        "app/services/progress.py",
        "if not self._posted:",
        "if True:",
        f"{TEST_HEARTBEAT}::test_only_the_latest_report_of_a_round_is_written",
    ),
    Mutant(
        "progress is written after the attempt's end",
        "app/services/progress.py",
        "if self._closed:",
        "if False:",
        f"{TEST_HEARTBEAT}::test_nothing_is_written_after_the_end_of_the_attempt",
    ),
    Mutant(
        "a message of progress is cut before it is masked",
        "app/services/progress.py",
        "str(printable(self._mask(message)))[:LONGEST_MESSAGE]",
        "str(printable(self._mask(message[:LONGEST_MESSAGE])))",
        f"{TEST_HEARTBEAT}::test_a_message_is_masked_before_it_is_cut",
    ),
    Mutant(
        "a step is never told that it was cancelled",
        "app/services/execute.py",
        "cancelled=throttled(self._cancelling, executor.clock)",
        "cancelled=lambda: False",
        "tests/integration/engine/test_cancelled.py::test_an_operation_that_asks_is_told_within_two_seconds",
    ),
    Mutant(
        "a line of a log is stored with its secret",
        LOGS,
        "mask_values(mask_fields(words), secrets)",
        "mask_fields(words)",
        f"{TEST_LOGS}::test_secrets_are_masked_before_a_line_is_cut",
    ),
    Mutant(
        "a log grows without bound",
        "app/domain/step_logs.py",
        "if not self._full and self._count <= MOST_LINES",
        "if self._count",
        f"{TEST_LOGS}::test_the_first_lines_stay_then_a_mark_then_the_last",
    ),
    Mutant(
        "the last lines of a step stay unwritten",
        LOGS,
        "            self._lines.end()\n        try:\n            self._bring()",
        "            self._lines.end()\n        try:\n            pass",
        f"{TEST_LOGS}::test_lines_of_a_round_are_one_batch_the_rest_comes_at_the_end",
    ),
    Mutant(
        "lines that could not be written are forgotten",
        LOGS,
        "if self._failures < MOST_TRIES:",
        "if False:",
        f"{TEST_LOGS}::test_what_cannot_be_written_is_repeated_as_it_was",
    ),
    Mutant(
        "the log of an attempt takes the platform's lines",
        "app/observability/capture.py",
        'and record.name.partition(".")[0] not in OWN',
        "",
        f"{TEST_LOGS}::test_lines_of_the_operations_thread_are_captured",
    ),
    Mutant(
        "a cursor within a batch skips the rest of it",
        "app/db/step_logs.py",
        "AND (l.tries > :tries OR CAST(e.line ->> 'n' AS integer) > :n)",
        "AND (l.tries > :tries OR l.last - 1 > :n)",
        f"{TEST_LOG_ROWS}::test_lines_come_in_order_from_any_cursor",
    ),
    Mutant(
        "damaged content is handed out",
        "app/domain/artifacts.py",
        "if seen.hexdigest() != sha256:",
        "if False:",
        f"{TEST_STORES}::test_damaged_content_is_never_handed_out_whole",
    ),
    Mutant(
        "a file of another tenant is found by its hash",
        "app/artifacts/files.py",
        "self._folder / str(tenant_id) / sha256[:2] / sha256",
        'self._folder / "all" / sha256[:2] / sha256',
        f"{TEST_STORES}::test_a_tenant_has_its_own",
    ),
    Mutant(
        "content is written before its hold",
        ARTIFACTS,
        "        if artifacts.hold(self.database, self.message, self.tries, reference):\n",
        "        if True:\n",
        f"{TEST_COLLECTION}::test_a_late_owner_puts_nothing_down",
    ),
    Mutant(
        "the collector does not lock what it deletes",
        "app/db/artifacts.py",
        " FOR UPDATE SKIP LOCKED",
        "",
        f"{TEST_COLLECTION}::test_a_writer_waits_for_the_collector_then_writes_anew",
    ),
    Mutant(
        "the collector takes what a running attempt holds",
        "app/db/artifacts.py",
        "if connection.execute(_IS_HELD, values).scalar():",
        "if False:",
        f"{TEST_COLLECTION}::test_a_running_attempt_keeps_what_it_put_down",
    ),
    Mutant(
        "expressions see the reference in place of the value",
        "app/services/execute.py",
        "patiently(executor, lambda: executor.engine.artifacts.opened(tenant_id, claim.context))",
        "claim.context",
        f"{TEST_STEPS}::test_later_steps_get_the_value",
    ),
    Mutant(
        "a secret is stored within a file",
        ARTIFACTS,
        "if holds_secret(content, self.secrets):",
        "if False:",
        f"{TEST_STEPS}::test_no_secret_gets_into_an_artifact",
    ),
    Mutant(
        "a secret counts by its name alone",
        "workflows/fingerprints.py",
        '["name", part.name, secrets.get(part.name, "")]',
        '["name", part.name]',
        f"{TEST_REUSE}::test_a_new_secret_is_another_input",
    ),
    Mutant(
        "a retry uses the old result",
        "app/services/reuse.py",
        "claim.round > 0 or ",
        "",
        f"{TEST_REUSE}::test_an_operators_retry_does_the_work",
    ),
    Mutant(
        "a result counts before its step has succeeded",
        "migrations/sql/0001_reuse.sql",
        "AND o.tries = s.tries AND o.state = 'succeeded') THEN",
        "AND o.tries = s.tries) THEN",
        f"{TEST_REUSE}::test_a_result_counts_once_its_step_has_succeeded",
    ),
    Mutant(
        "a reused artifact is not held",
        "migrations/sql/0001_reuse.sql",
        "p_tries, h.sha256, h.content_type FROM step_artifacts h\n  WHERE",
        "p_tries, h.sha256, h.content_type FROM step_artifacts h\n  WHERE false AND",
        f"{TEST_REUSE}::test_a_reused_artifact_is_held_by_both",
    ),
]
