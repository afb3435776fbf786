"""Schedules: when they fire, what becomes of a firing that is late or meets an unfinished run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

OVERLAPS: Final = ("skip", "queue", "cancel_running", "allow")
CATCH_UPS: Final = ("all", "latest", "none")
STATES: Final = ("active", "paused", "ended")
CAUSES: Final = ("time", "trigger", "backfill")
OUTCOMES: Final = ("started", "skipped", "queued", "planned", "failed")
ON_TIME: Final = timedelta(seconds=30)
"""A firing no later than this is on time, whatever the catch-up policy."""
FIRINGS_AT_ONCE: Final = 100
"""Of one schedule in one look; the others follow in the next."""
MAX_QUEUED: Final = 100
MAX_JITTER_S: Final = 3_600.0
_SPREAD: Final = 2.0**64


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule fires: by `cron` in `timezone`, every `every_s` seconds from `start_at`, or once `at`.

    `jitter_s` delays each firing by a part of so many seconds, the same one whenever it is computed.
    """

    cron: str | None = None
    every_s: float | None = None
    at: datetime | None = None
    timezone: str = "UTC"
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of firings that meet an unfinished run, or are late by at most `catch_up_window_s`."""

    overlap: str = "skip"
    catch_up: str = "latest"
    catch_up_window_s: float = 3_600.0


@dataclass(frozen=True, slots=True)
class Firing:
    """One firing as decided: `scheduled_at` is its place in the timetable, `outcome` one of OUTCOMES."""

    scheduled_at: datetime
    outcome: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a due schedule decided: its firings, the runs to cancel first, when it is due next."""

    firings: tuple[Firing, ...]
    next_at: datetime | None
    cancel: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A schedule as it stands: the firing that is next, how many wait in its queue, its unfinished runs.

    `known` are places in the timetable that were decided already, by a clock that has stepped back since.
    """

    id: UUID
    timing: Timing
    rules: Rules
    next_at: datetime
    queued: int = 0
    open_runs: Sequence[UUID] = ()
    known: Sequence[datetime] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """What a schedule declares at each firing; `spec` may hold `${run.scheduled_at}` among others."""

    type: str
    spec: dict[str, Any]
    type_version: int | None = None
    labels: dict[str, str] = field(default_factory=dict)
    priority: int = 0


Times = Callable[[Timing, datetime], Iterable[datetime]]
"""The firing times strictly after a moment, ascending."""
Previous = Callable[[Timing, datetime], datetime | None]
"""The last firing time at or before a moment."""


def due_at(schedule: UUID, timing: Timing, scheduled_at: datetime) -> datetime:
    """Return when a firing is due: its place in the timetable, delayed by its part of the jitter."""
    if not timing.jitter_s:
        return scheduled_at
    seed = hashlib.sha256(schedule.bytes + scheduled_at.isoformat().encode()).digest()
    return scheduled_at + timedelta(seconds=timing.jitter_s * int.from_bytes(seed[:8], "big") / _SPREAD)


def look(standing: Standing, now: datetime, times: Times, previous: Previous) -> Look:
    """Decide what a schedule does at `now`; the same rows give the same answer."""
    missed, candidates, rest = _due(standing, now, times, previous)
    decided = (*missed, *_meet(standing, candidates))
    started = any(firing.outcome == "started" for firing in decided)
    cancels = standing.rules.overlap == "cancel_running" and started
    return Look(decided, rest, tuple(standing.open_runs) if cancels else ())


def _due(
    standing: Standing, now: datetime, times: Times, previous: Previous
) -> tuple[list[Firing], list[datetime], datetime | None]:
    """Return what is past catching up, what is to fire now, and the firing after that."""
    timing, rules = standing.timing, standing.rules
    first: datetime | None = standing.next_at
    late = timedelta(seconds=rules.catch_up_window_s) if rules.catch_up != "none" else ON_TIME
    horizon = now - max(late, ON_TIME) - timedelta(seconds=timing.jitter_s)
    if rules.catch_up == "latest" and now - due_at(standing.id, timing, standing.next_at) > ON_TIME:
        last = previous(timing, now)
        horizon = max(horizon, last or horizon)
    missed = []
    if standing.next_at < horizon and standing.next_at not in standing.known:
        missed.append(Firing(standing.next_at, "skipped", "missed"))
    if standing.next_at < horizon:
        first = next(iter(times(timing, horizon - timedelta(microseconds=1))), None)
    candidates: list[datetime] = []
    while (
        first is not None and due_at(standing.id, timing, first) <= now and len(candidates) < FIRINGS_AT_ONCE
    ):
        if first not in standing.known:
            candidates.append(first)
        first = next(iter(times(timing, first)), None)
    return missed, candidates, first


def _meet(standing: Standing, candidates: Sequence[datetime]) -> list[Firing]:
    """Apply the overlap policy: each firing that starts is an unfinished run to the ones behind it."""
    rules, busy, queued = standing.rules, bool(standing.open_runs or standing.queued), standing.queued
    firings = []
    for place, moment in enumerate(candidates):
        outcome, reason = "started", None
        if rules.overlap == "skip" and busy:
            outcome, reason = "skipped", "overlap"
        elif rules.overlap == "queue" and busy:
            full = queued >= MAX_QUEUED
            outcome, reason = ("skipped", "queue_full") if full else ("queued", None)
            queued += 1
        elif rules.overlap == "cancel_running" and place < len(candidates) - 1:
            outcome, reason = "skipped", "overlap"
        busy = True
        firings.append(Firing(moment, outcome, reason))
    return firings
