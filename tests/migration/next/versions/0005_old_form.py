"""The old name of what a worker heeds is gone; every run has come from somewhere."""

from __future__ import annotations

from migrations.scripts import run_sql

revision = "0005"
phase = "contract"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the SQL files of this revision, in order."""
    run_sql("0005_old_form.sql")
