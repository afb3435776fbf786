"""The timetable of a schedule: cron with Debian's rules around clock changes, intervals, single moments."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from app.domain.schedules import Timing

_SECOND_FIELDS = 6


@lru_cache(maxsize=1_024)
def zone(name: str) -> ZoneInfo:
    """Return the IANA time zone; raises ValueError when there is none of that name."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name[:100]!r}") from error


def check_cron(expression: str) -> None:
    """Raise ValueError with the reason unless `expression` is cron of 5 fields, or 6 with seconds first."""
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(
            f"{error}: write minute hour day month weekday, seconds before them if need be"
        ) from error


def times_after(timing: Timing, after: datetime) -> Iterator[datetime]:
    """Yield the firing times strictly after `after`, in UTC, up to `end_at`."""
    if timing.start_at is not None:
        after = max(after, timing.start_at - timedelta(microseconds=1))
    for moment in _unbounded(timing, after):
        if timing.end_at is not None and moment > timing.end_at:
            return
        yield moment


def last_until(timing: Timing, moment: datetime) -> datetime | None:
    """Return the last firing time at or before `moment`, None when there is none."""
    if timing.end_at is not None:
        moment = min(moment, timing.end_at)
    found: datetime | None
    if timing.cron is not None:
        found = next((one for one in _backwards(timing, moment) if one <= moment), None)
        # In an hour that comes twice, backwards leaves out what fired in its first passage.
        while found and (later := next(_unbounded(timing, found), None)) and later <= moment:
            found = later
    elif timing.every_s is not None:
        origin = _origin(timing)
        steps = math.floor((moment - origin).total_seconds() / timing.every_s)
        found = origin + timedelta(seconds=steps * timing.every_s) if steps >= 0 else None
    else:
        found = timing.at if timing.at is not None and timing.at <= moment else None
    early = found is not None and timing.start_at is not None and found < timing.start_at
    return None if early else found


def _unbounded(timing: Timing, after: datetime) -> Iterator[datetime]:
    if timing.cron is not None:
        expression, local, seconds = _cron_parts(timing, after)
        for moment in CronSim(expression, local):
            found = moment.astimezone(UTC) + timedelta(seconds=seconds)
            if found > after:  # around a clock change the same moment may come again
                yield found
    elif timing.every_s is not None:
        origin = _origin(timing)
        step = max(0, math.floor((after - origin).total_seconds() / timing.every_s) + 1)
        while True:
            yield origin + timedelta(seconds=step * timing.every_s)
            step += 1
    elif timing.at is not None and timing.at > after:
        yield timing.at


def _backwards(timing: Timing, moment: datetime) -> Iterator[datetime]:
    expression, local, seconds = _cron_parts(timing, moment)
    # A whole second is itself left out by CronSim, a broken one is not.
    start = local if local.microsecond else local + timedelta(seconds=1)
    for found in CronSim(expression, start, reverse=True):
        yield found.astimezone(UTC) + timedelta(seconds=seconds)


def _cron_parts(timing: Timing, moment: datetime) -> tuple[str, datetime, float]:
    """Return the expression as CronSim is to see it, the local time to look from, the seconds to add.

    Debian's rules for clock changes apply to five fields only. A sixth that is one number becomes an offset,
    so that 30 seconds past 2:15 is treated like 2:15.
    """
    fields, seconds = (timing.cron or "").split(), 0.0
    if len(fields) == _SECOND_FIELDS and fields[0].isdecimal():
        seconds = float(fields.pop(0))
    local = (moment - timedelta(seconds=seconds)).astimezone(zone(timing.timezone))
    return " ".join(fields), local, seconds


def _origin(timing: Timing) -> datetime:
    if timing.start_at is None:
        raise ValueError("an interval needs a moment to count from")
    return timing.start_at


def anchored(timing: Timing, now: datetime) -> Timing:
    """Return the timing with the moment that an interval counts from: `now` unless it says another."""
    if timing.every_s is None or timing.start_at is not None:
        return timing
    return replace(timing, start_at=now)
