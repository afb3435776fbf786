"""What the rows tell about the platform as a whole, for its metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.db.engine import Database
from app.db.workers import LOST
from app.domain.flags import FlagRule

Gauge = tuple[str, str, float]
"""Name of the metric, value of its label or an empty text, value."""

_READ: Final = f"""
  SELECT 'quantum_queue_steps', s.queue, count(*)::float FROM (
    SELECT queue FROM run_steps WHERE state || '' = 'ready' AND sent_at IS NOT NULL LIMIT 10000) s
  GROUP BY s.queue
  UNION ALL
  SELECT 'quantum_queue_oldest_seconds', s.queue,
         extract(epoch FROM clock_timestamp() - min(s.ready_at))::float
  FROM (SELECT queue, ready_at FROM run_steps WHERE state || '' = 'ready' AND sent_at IS NOT NULL
    ORDER BY ready_at LIMIT 10000) s GROUP BY s.queue
  UNION ALL
  SELECT 'quantum_unsent_oldest_seconds', '',
         coalesce(extract(epoch FROM clock_timestamp() - min(ready_at)), 0)::float
  FROM run_steps WHERE state || '' = 'ready' AND sent_at IS NULL
  UNION ALL
  SELECT 'quantum_schedule_lag_seconds', '',
         greatest(coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0), 0)
  FROM schedules WHERE due_at IS NOT NULL
  UNION ALL
  SELECT 'quantum_beat_lane_age_seconds', lane,
         extract(epoch FROM clock_timestamp() - max(last_at))::float
  FROM beat_jobs GROUP BY lane
  UNION ALL
  SELECT 'quantum_workers', w.state, count(*)::float FROM (
    SELECT CASE WHEN w.state = 'dead' THEN 'lost'
                WHEN w.seen_at < clock_timestamp() - interval '10 seconds' THEN 'silent'
                ELSE 'live' END AS state
    FROM workers w WHERE w.state = 'live' OR {LOST}) w GROUP BY w.state
  UNION ALL
  SELECT 'quantum_queue_slots_busy', s.queue, count(*)::float
  FROM (SELECT queue FROM run_steps WHERE state || '' = 'running' LIMIT 10000) s GROUP BY s.queue
  UNION ALL
  SELECT 'quantum_queue_demand_slots', s.queue, count(*)::float FROM (
    (SELECT queue FROM run_steps WHERE state || '' = 'running' LIMIT 10000)
    UNION ALL (SELECT queue FROM run_steps WHERE state || '' = 'ready' AND sent_at IS NOT NULL LIMIT 10000)
    UNION ALL (
      SELECT t.queue FROM (SELECT tenant_id, run_id, queue FROM run_steps
        WHERE state || '' = 'ready' AND sent_at IS NULL ORDER BY ready_at LIMIT 10000) t
      JOIN runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
        AND r.state IN ('queued', 'running', 'compensating') AND NOT r.held_by_key
      WHERE NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || t.tenant_id)))) s
  GROUP BY s.queue
  UNION ALL
  SELECT 'quantum_queue_slots', q.queue, sum(greatest(jsonb_array_length(w.children), 1))::float
  FROM workers w CROSS JOIN LATERAL unnest(w.queues) AS q (queue)
  WHERE w.state = 'live' AND w.seen_at >= clock_timestamp() - interval '10 seconds' GROUP BY q.queue
  UNION ALL
  SELECT 'quantum_dead_events', d.sink, count(*)::float
  FROM (SELECT sink FROM dead_events LIMIT 10000) d GROUP BY d.sink
  UNION ALL
  SELECT 'quantum_backup_age_seconds', '', extract(epoch FROM clock_timestamp()
         - coalesce(max(begun_at) FILTER (WHERE verified_at IS NOT NULL), min(begun_at)))::float
  FROM backups WHERE kind = 'dump' HAVING count(*) > 0
  UNION ALL
  SELECT 'quantum_base_backup_age_seconds', '', extract(epoch FROM clock_timestamp()
         - coalesce(max(b.begun_at), l.begun_at))::float
  FROM backups l LEFT JOIN backups b
    ON b.kind = 'base' AND b.verified_at IS NOT NULL AND b.begun_at >= l.begun_at
  WHERE l.kind = 'log' GROUP BY l.begun_at
  UNION ALL
  SELECT 'quantum_wal_slot_bytes', slot_name,
         pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float
  FROM pg_replication_slots WHERE NOT temporary AND restart_lsn IS NOT NULL AND NOT pg_is_in_recovery()
  UNION ALL
  SELECT 'quantum_wal_slots', w.state, count(*)::float FROM (
    SELECT CASE WHEN wal_status = 'lost' THEN 'lost' WHEN active THEN 'read' ELSE 'unread' END AS state
    FROM pg_replication_slots WHERE NOT temporary) w GROUP BY w.state
"""  # noqa: S608 - a constant condition


def read_gauges(system: Database) -> list[Gauge]:
    """Return the gauges of all hosts; no count goes beyond 10,000. Raises Unavailable."""
    return [(row[0], row[1], float(row[2])) for row in system.call(_READ)]


# Those that use most today, then all others as one.
_TENANTS: Final = """
  WITH today AS (
    SELECT t.slug, d.runs_succeeded + d.runs_failed + d.runs_cancelled AS runs, d.step_seconds, d.events,
           d.event_bytes, row_number() OVER (ORDER BY d.step_seconds DESC, d.events DESC, t.id) AS place
    FROM usage_days d JOIN tenants t ON t.id = d.tenant_id
    WHERE d.day = (clock_timestamp() AT TIME ZONE 'UTC')::date)
  SELECT CASE WHEN place <= %(most)s THEN slug ELSE '(others)' END AS tenant, sum(runs)::float,
         sum(step_seconds)::float, sum(events)::float, sum(event_bytes)::float
  FROM today GROUP BY 1
"""
_STATES: Final = "SELECT state, count(*)::float FROM tenants GROUP BY state"
_MEASURES: Final = (
    "quantum_tenant_day_runs",
    "quantum_tenant_day_step_seconds",
    "quantum_tenant_day_events",
    "quantum_tenant_day_event_bytes",
)
_ACTIVE: Final = "SELECT id FROM tenants WHERE state = 'active' ORDER BY id LIMIT %s"
_RULES: Final = "SELECT name, killed, percentage::float FROM feature_flags"
_OVERRIDES: Final = "SELECT tenant_id, name, enabled FROM flag_overrides"


@dataclass(frozen=True, slots=True)
class FlagFacts:
    """What decides flags: rules by name, what holds for single tenants, the active tenants."""

    rules: Mapping[str, FlagRule]
    overrides: Mapping[str, Mapping[UUID, bool]]
    tenants: tuple[UUID, ...]


def read_tenants(system: Database, most: int) -> list[Gauge]:
    """Return how many tenants there are, with what `most` of them used today. Raises Unavailable."""
    found: list[Gauge] = [("quantum_tenants", state, number) for state, number in system.call(_STATES)]
    for tenant, *figures in system.call(_TENANTS, {"most": most}) if most else ():
        found += [(name, tenant, value) for name, value in zip(_MEASURES, figures, strict=True)]
    return found


def read_flag_facts(system: Database, most: int) -> FlagFacts:
    """Return what decides flags for at most so many tenants. Raises Unavailable."""
    overrides: dict[str, dict[UUID, bool]] = defaultdict(dict)
    for tenant_id, name, enabled in system.call(_OVERRIDES):
        overrides[name][tenant_id] = enabled
    return FlagFacts(
        {name: FlagRule(killed, share) for name, killed, share in system.call(_RULES)},
        overrides,
        tuple(row[0] for row in system.call(_ACTIVE, (most,))),
    )
