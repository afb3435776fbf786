"""Whether a caller whose token is good may still act."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

from app.db import users
from app.db.engine import Database
from app.observability.metrics import CacheLooks

KEPT_S: Final = 5.0
"""How long an answer is kept: within it a closed user, a session that was ended may still act."""
_KEPT: Final = 10_000
"""Sessions remembered; beyond that all are forgotten at once."""

_LOOKS: Final = CacheLooks("standings")

Roles = frozenset[str]


class Standings:
    """The present roles of users, read at most once in `KEPT_S` seconds for each of their sessions."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._kept: dict[tuple[UUID, UUID, UUID], tuple[float, Roles | None]] = {}

    def roles(self, tenant_id: UUID, user_id: UUID, session_id: UUID) -> Roles | None:
        """Return the roles, None when session, user or tenant is closed; raises Unavailable."""
        now, place = self._clock(), (tenant_id, user_id, session_id)
        kept = self._kept.get(place)
        fresh = kept is not None and now - kept[0] < KEPT_S
        _LOOKS.count(hit=fresh)
        if kept is not None and fresh:
            return kept[1]
        with self._database.tenant(tenant_id) as connection:
            roles = users.present_roles(connection, *place)
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[place] = (now, roles)
        return roles
