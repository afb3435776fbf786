"""${message}."""

from __future__ import annotations

from migrations.scripts import run_sql

revision = ${repr(up_revision)}
phase = "expand"  # what the release before still uses stays; "contract" takes it away (docs/upgrades.md)
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Apply the SQL files of this revision, in order."""
    run_sql("${up_revision}_.sql")
