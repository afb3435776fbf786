"""What operators want of a worker, of the whole platform: desired states, kept as rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

WORKER_STATES: Final = ("active", "draining", "quarantined")
"""What may be ordered. A draining worker begins nothing, ends what it runs; a quarantined one loses that."""
MAINTENANCE: Final = "maintenance"
"""What an active worker heeds while the platform is held: the same as draining."""
LARGEST_POOL: Final = 512


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a worker is to be now; `pool_size` None is as many processes as it was started with."""

    state: str
    pool_size: int | None

    @property
    def consumes(self) -> bool:
        """Whether it is to take messages."""
        return self.state == "active"


@dataclass(frozen=True, slots=True)
class Order:
    """An order to the workers of one name; version 0 says that nobody has ordered anything."""

    name: str
    state: str = "active"
    pool_size: int | None = None
    reason: str = ""
    changed_by: str = ""
    version: int = 0
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Whether the platform accepts work without beginning any, with who wanted that, why, since when."""

    active: bool
    reason: str
    since: datetime | None
    changed_by: str
    version: int
