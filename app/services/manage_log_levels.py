"""Levels of loggers as operators set them, for as long as they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import app
from app.db import log_levels, trail
from app.db.engine import Database
from app.db.trail import Mark
from app.domain.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import Actor
from app.domain.log_levels import LONGEST, MOST, OURS, QUIET, TELLTALES, LevelRule
from workflows.waits import duration_of

SHORTEST_S: Final = 1.0


def list_levels(platform: Database) -> list[LevelRule]:
    """Return the levels in force, by module."""
    with platform.system() as connection:
        return log_levels.rules(connection)


def show_level(platform: Database, module: str) -> LevelRule:
    """Return what is said of a logger; raises NotFound for one that cannot be."""
    _known(module)
    with platform.system() as connection:
        return log_levels.find(connection, module)


def set_level(
    platform: Database,
    actor: Actor,
    module: str,
    version: int | None,
    level: str | None,
    lasts: Any,
    reason: str,
) -> LevelRule:
    """Set the level of a logger in every process, or with None leave it to what each was started with.

    `lasts` is an ISO 8601 duration or a number of seconds, after which it ends by itself; None: until it is
    changed. Every process obeys within its next look. Saying what holds already, without an end, changes
    nothing. Raises NotFound, InvalidInput, PreconditionFailed, Conflict when too many levels are in force.
    """
    _known(module)
    seconds = _seconds(level, lasts)
    if module.partition(".")[0] in TELLTALES and level in QUIET:
        words = f"lines of {module} below WARNING hold what customers wrote"
        raise InvalidInput.at("/level", "tells_too_much", words)
    with platform.system() as connection:
        log_levels.lock(connection)
        present = log_levels.find(connection, module)
        if version is not None and version != present.version:
            raise PreconditionFailed(f"the level is at version {present.version}")
        holds = (present.level, present.ends_at) if present.in_force else (None, None)
        if seconds is None and holds == (level, None):
            return present
        if level is not None and not present.in_force and len(log_levels.rules(connection)) >= MOST:
            raise Conflict(f"{MOST} levels are in force: reset some first")
        changed = log_levels.put(connection, module, level, seconds, reason, actor.email)
        detail = {"level": level, "for_s": seconds, "reason": reason}
        mark = Mark("log_level.set", f"log-levels/{module}", detail=detail)
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
    return changed


def _seconds(level: str | None, lasts: Any) -> float | None:
    if lasts is None or level is None:
        return None
    try:
        seconds = duration_of(lasts)
    except ValueError as fault:
        raise InvalidInput.at("/for", "bad_duration", str(fault)) from fault
    if seconds < SHORTEST_S:
        raise InvalidInput.at("/for", "range", "at least one second")
    return seconds


def _known(module: str) -> None:
    """Refuse a name that is too long, or one of ours that no file has: nobody would ever log under it."""
    if len(module) > LONGEST:
        raise NotFound("no logger has such a name")
    if module.partition(".")[0] not in OURS:
        return
    place = Path(app.__file__).resolve().parents[1].joinpath(*module.split("."))
    if not place.is_dir() and not place.with_name(f"{place.name}.py").is_file():
        raise NotFound(f"there is no module {module}")
