"""Every run that was there before has come from somewhere, too."""

from __future__ import annotations

from migrations.scripts import run_sql

revision = "0006"
phase = "contract"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the SQL files of this revision, in order."""
    run_sql("0006_origins_known.sql")
