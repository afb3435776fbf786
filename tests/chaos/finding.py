"""What the checker of a chaos run finds."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must not be; `run` when it belongs to one."""

    kind: str
    text: str
    run: UUID | None = None
