"""Both names of what a worker heeds, where a run came from: beside what the release before uses."""

from __future__ import annotations

from migrations.scripts import run_sql

revision = "0002"
phase = "expand"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the SQL files of this revision, in order."""
    run_sql("0002_next_form.sql")
