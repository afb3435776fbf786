"""The claim of jobs that are due, so that two beats never run one job at once."""

from __future__ import annotations

from collections.abc import Mapping

from app.db import beat
from app.db.engine import Database


def claim_due(system: Database, every_s: Mapping[str, float]) -> list[str]:
    """Claim the named jobs that are due by database time, and set when each is due again, in seconds."""
    return beat.claim_due(system, every_s)


def note_end(system: Database, name: str, fault: str | None) -> None:
    """Note how the job ended: `fault` is None when it ended well."""
    beat.record(system, name, fault)
