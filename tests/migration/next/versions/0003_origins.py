"""Where runs came from that were there before the column."""

from __future__ import annotations

from migrations.scripts import in_batches

revision = "0003"
phase = "expand"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Fill the column, some rows in a commit."""
    in_batches(
        "runs",
        "UPDATE runs SET origin = 'before' WHERE (tenant_id, id) IN"
        " (SELECT tenant_id, id FROM runs WHERE origin IS NULL LIMIT 500)",
    )
