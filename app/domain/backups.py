"""When a backup is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

RETRY_S: Final = 3600.0
"""Seconds between two tries, whatever became of the first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the rows say: when the latest verified dump was begun, when any was, whether one is made now."""

    verified: datetime | None
    tried: datetime | None
    under_way: bool
    based: datetime | None = None
    """When the latest verified base backup was begun."""
    log_since: datetime | None = None
    """Since when the log is received without a gap, None while it is not."""


def is_due(standing: Standing, now: datetime, hour: int) -> bool:
    """Tell whether no verified backup was begun since the latest `hour` o'clock, in UTC as `now` is.

    One that is under way is waited for; one that failed is tried again after `RETRY_S` seconds.
    """
    since = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    if since > now:
        since -= timedelta(days=1)
    if standing.verified is not None and standing.verified >= since:
        return False
    return _may_begin(standing, now)


def is_base_due(standing: Standing, now: datetime, days: int) -> bool:
    """Tell whether the log wants a base backup: none is verified since it began, or none for so many days.

    Tried again as a dump is; where no log is received none is due.
    """
    if standing.log_since is None:
        return False
    fresh = standing.based is not None and standing.based >= standing.log_since
    if fresh and standing.based is not None and now - standing.based < timedelta(days=days):
        return False
    return _may_begin(standing, now)


def _may_begin(standing: Standing, now: datetime) -> bool:
    if standing.under_way:
        return False
    return standing.tried is None or (now - standing.tried).total_seconds() >= RETRY_S
