"""When a backup is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

RETRY_S: Final = 3600.0
"""Seconds between two tries, whatever became of the first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the rows say: when the latest verified backup was begun, when any was, whether one is made now."""

    verified: datetime | None
    tried: datetime | None
    under_way: bool


def is_due(standing: Standing, now: datetime, hour: int) -> bool:
    """Tell whether no verified backup was begun since the latest `hour` o'clock, in UTC as `now` is.

    One that is under way is waited for; one that failed is tried again after `RETRY_S` seconds.
    """
    since = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    if since > now:
        since -= timedelta(days=1)
    if standing.under_way or (standing.verified is not None and standing.verified >= since):
        return False
    return standing.tried is None or (now - standing.tried).total_seconds() >= RETRY_S
