"""Fresh UUIDv7 identifiers from the system's clock."""

from __future__ import annotations

import os
import time
from uuid import UUID

from app.domain.ids import RANDOM_BYTES, uuid7


def new_id() -> UUID:
    """A new identifier, ordered by time of creation."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
