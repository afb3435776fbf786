"""Maintenance of the platform: work is accepted, none begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from app.db import orders, trail
from app.db.engine import Database
from app.db.trail import Mark
from app.domain.errors import PreconditionFailed, QuantumError
from app.domain.hands import Maintenance
from app.domain.identity import Actor

KEPT_S: Final = 1.0


def show_maintenance(platform: Database) -> Maintenance:
    """Return whether the platform is held, with who wanted that, why, since when."""
    with platform.system() as connection:
        return orders.maintenance(connection)


def change_maintenance(
    platform: Database, actor: Actor, version: int | None, active: bool, reason: str
) -> Maintenance:
    """Turn maintenance on or off; raises PreconditionFailed.

    From the commit on no step is claimed, sent, or admitted; what runs may end. Schedules fire, waits come
    due, deadlines pass. Turning it to what it is already changes nothing.
    """
    with platform.system() as connection:
        present = orders.maintenance(connection, lock=True)
        if version is not None and version != present.version:
            raise PreconditionFailed(f"maintenance is at version {present.version}")
        if (present.active, present.reason) == (active, reason):
            return present
        present = orders.switch(connection, active, reason, actor.email)
        mark = Mark("platform.maintenance", "platform", detail={"active": active, "reason": reason})
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
    return present


class MaintenanceSign:
    """What an API process tells its callers of maintenance: read at most once in `KEPT_S` seconds."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._read_at = float("-inf")
        self._known: Maintenance | None = None

    def look(self) -> Maintenance | None:
        """Return the state of maintenance; the last one known, or None, while the database is away."""
        now = self._clock()
        if now - self._read_at >= KEPT_S:
            self._read_at = now
            try:
                self._known = orders.look_at_maintenance(self._database)
            except QuantumError:
                return self._known  # an answer must not fail for what it says beside
        return self._known
