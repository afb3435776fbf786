"""How far the numbered events of tenants go, for those who wait for the next."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from app.db import reads
from app.db.engine import Database
from app.domain.events import SHARDS, Event

# By shard, as the index on position begins with it.
_LAST: Final = """
  SELECT coalesce(max(last), 0) FROM generate_series(0, %s) AS s(number)
  CROSS JOIN LATERAL (
    SELECT position AS last FROM events WHERE shard = s.number AND position IS NOT NULL
    ORDER BY position DESC LIMIT 1
  ) AS e
"""
_NEWS: Final = """
  SELECT e.tenant_id, max(e.position) FROM generate_series(0, %s) AS s(number)
  JOIN events e ON e.shard = s.number AND e.position > %s GROUP BY e.tenant_id
"""


class PostgresOutlook:
    """The numbered events: as the system role how far they go, as the app role what one tenant's are."""

    def __init__(self, database: Database, system: Database) -> None:
        self._database = database
        self._system = system

    def last_position(self) -> int:
        """Return the highest position of all tenants, 0 before the first event; raises Unavailable."""
        return int(self._system.call(_LAST, (SHARDS - 1,))[0][0])

    def news(self, after: int) -> dict[UUID, int]:
        """Return the last position of each tenant that has events behind `after`; raises Unavailable."""
        return dict(self._system.call(_NEWS, (SHARDS - 1, after)))

    def page(self, tenant_id: UUID, after: int, limit: int) -> tuple[Event, ...]:
        """Return the tenant's events behind a position; raises Unavailable."""
        with self._database.reading(tenant_id) as reader:
            rows, _ = reads.events_after(reader, tenant_id, after, limit, None, None)
        return tuple(Event(**row) for row in rows)

    def floor(self, tenant_id: UUID) -> int:
        """Return up to where some of the tenant's events are no longer kept; raises Unavailable."""
        with self._database.reading(tenant_id) as reader:
            return reads.events_floor(reader, tenant_id)
