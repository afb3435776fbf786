"""The undoing steps of a run that is being compensated."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

_CHAIN: Final = text("SELECT key, seq FROM undo_chain(:tenant, :run, :limit)")


def chain(connection: Connection, tenant_id: UUID, run_id: UUID, limit: int) -> list[tuple[str, int]]:
    """Return key and place of the undoing steps that no message carries, in order, the ready one first."""
    rows = connection.execute(_CHAIN, {"tenant": tenant_id, "run": run_id, "limit": limit})
    return [(row.key, row.seq) for row in rows]
