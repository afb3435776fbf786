"""The spine: relations, policies, transitions, the SQL functions of the hot path."""

from __future__ import annotations

from migrations.scripts import run_sql

revision = "0001"
phase = "expand"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the SQL files of this revision, in order."""
    run_sql(
        "0001_roles.sql",
        "0001_tables.sql",
        "0001_holds.sql",
        "0001_bulk.sql",
        "0001_transitions.sql",
        "0001_events.sql",
        "0001_event_floors.sql",
        "0001_audit.sql",
        "0001_admission.sql",
        "0001_step_limits.sql",
        "0001_concurrency.sql",
        "0001_functions.sql",
        "0001_intake.sql",
        "0001_stretches.sql",
        "0001_lots.sql",
        "0001_control.sql",
        "0001_fans.sql",
        "0001_progress.sql",
        "0001_step_logs.sql",
        "0001_artifacts.sql",
        "0001_reuse.sql",
        "0001_limits.sql",
        "0001_undo.sql",
        "0001_waits.sql",
        "0001_steering.sql",
        "0001_nesting.sql",
        "0001_recovery.sql",
        "0001_schedules.sql",
        "0001_dedicated_pools.sql",
        "0001_webhooks.sql",
        "0001_triggers.sql",
        "0001_flags.sql",
        "0001_usage.sql",
        "0001_hands.sql",
        "0001_log_levels.sql",
        "0001_keys.sql",
        "0001_backups.sql",
        "0001_processes.sql",
        "0001_policies.sql",
        "0001_seed.sql",
    )
