"""The read models of usage: followed, rebuilt, compared, read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final
from uuid import UUID

from app.db.engine import Database
from app.domain.events import SHARDS

SINK: Final = "usage"
_DAYS: Final = """
  SELECT day, runs_succeeded, runs_failed, runs_cancelled, attempts, step_seconds, events, event_bytes
  FROM usage_days WHERE tenant_id = :tenant AND day BETWEEN :first AND :last ORDER BY day
"""
_BUCKETS: Final = """
  SELECT bucket, CAST(sum(runs) AS bigint) AS runs FROM usage_latencies
  WHERE tenant_id = :tenant AND day BETWEEN :first AND :last AND measure = :measure
  GROUP BY bucket ORDER BY bucket
"""
# Pruning deletes whole events by age, so the day of the oldest one may have lost some.
_WHOLE_SINCE: Final = """
  SELECT coalesce((SELECT (e.created_at AT TIME ZONE 'UTC')::date + 1 FROM events e
                   WHERE e.tenant_id = %(tenant)s AND e.position IS NOT NULL ORDER BY e.position LIMIT 1),
                  current_date)
"""
_TOP: Final = """
  SELECT t.id AS tenant_id, t.slug, sum(d.runs_succeeded + d.runs_failed + d.runs_cancelled)::bigint AS runs,
         sum(d.attempts)::bigint AS attempts, sum(d.step_seconds) AS step_seconds,
         sum(d.events)::bigint AS events, sum(d.event_bytes)::bigint AS event_bytes
  FROM usage_days d JOIN tenants t ON t.id = d.tenant_id
  WHERE d.day BETWEEN %s AND %s GROUP BY t.id, t.slug ORDER BY step_seconds DESC, t.id LIMIT %s
"""
_TOP_COLUMNS: Final = ("tenant_id", "slug", "runs", "attempts", "step_seconds", "events", "event_bytes")


class UsageModels:
    """The models as the system role keeps them; every call is one transaction and raises Unavailable."""

    def __init__(self, system: Database) -> None:
        self._system = system

    def prepare(self) -> None:
        """Let the outbox keep events until they are counted."""
        self._system.call(
            "INSERT INTO relay_cursors (sink, shard) SELECT %s, generate_series(0, %s)"
            " ON CONFLICT DO NOTHING",
            (SINK, SHARDS - 1),
        )

    def follow(self, limit: int) -> int:
        """Count at most `limit` events of each shard; return how many there were."""
        return int(self._system.call("SELECT project_usage(%s)", (limit,))[0][0])

    def tenants(self) -> Iterator[UUID]:
        """Yield every tenant."""
        for (tenant_id,) in self._system.call("SELECT id FROM tenants ORDER BY id"):
            yield tenant_id

    def rebuild(self, tenant_id: UUID) -> int:
        """Count one tenant's runs from nothing, events of whole days too; return how many runs."""
        since = self._system.call(_WHOLE_SINCE, {"tenant": tenant_id})[0][0]
        return int(self._system.call("SELECT rebuild_usage(%s, %s)", (tenant_id, since))[0][0])

    def differences(self, tenant_id: UUID) -> int:
        """Return how much of one tenant's model is not what its rows say."""
        return int(self._system.call("SELECT usage_differs(%s)", (tenant_id,))[0][0])

    def top(self, first: date, last: date, limit: int) -> list[dict[str, Any]]:
        """Return the tenants that used most, by step seconds."""
        rows = self._system.call(_TOP, (first, last, limit))
        return [dict(zip(_TOP_COLUMNS, row, strict=True)) for row in rows]


def days(database: Database, tenant_id: UUID, first: date, last: date) -> list[dict[str, Any]]:
    """Return what a tenant used on each day that it used something; raises Unavailable."""
    with database.reading(tenant_id) as reader:
        return reader.rows(_DAYS, {"tenant": tenant_id, "first": first, "last": last})


def buckets(database: Database, tenant_id: UUID, first: date, last: date, measure: str) -> Mapping[int, int]:
    """Return how many runs lie in each bucket of a measure; raises Unavailable."""
    values = {"tenant": tenant_id, "first": first, "last": last, "measure": measure}
    with database.reading(tenant_id) as reader:
        return {row["bucket"]: row["runs"] for row in reader.rows(_BUCKETS, values)}
