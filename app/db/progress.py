"""How far running steps are."""

from __future__ import annotations

from app.db.engine import Database
from app.domain.leases import StepMessage


def report(
    database: Database, message: StepMessage, tries: int, fraction: float | None, text: str | None
) -> bool:
    """Write how far the claim `tries` of a step is; tell whether it still holds. Raises Unavailable."""
    rows = database.call(
        "SELECT report_progress(%s, %s, %s, %s, %s::real, %s)",
        (message.tenant_id, message.run_id, message.key, tries, fraction, text),
    )
    return bool(rows[0][0])
