"""An index over where runs came from, built while they run."""

from __future__ import annotations

from migrations.scripts import index_concurrently

revision = "0004"
phase = "expand"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build the index."""
    index_concurrently("runs_origin", "CREATE INDEX CONCURRENTLY runs_origin ON runs (tenant_id, origin, id)")
