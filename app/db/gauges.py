"""What the rows tell about the platform as a whole, for its metrics."""

from __future__ import annotations

from typing import Final

from app.db.engine import Database

Gauge = tuple[str, str, float]
"""Name of the metric, value of its label or an empty text, value."""

_READ: Final = """
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
  SELECT 'quantum_workers', w.state, count(*)::float FROM (
    SELECT CASE WHEN seen_at < clock_timestamp() - interval '10 seconds' THEN 'silent' ELSE 'live' END
      AS state
    FROM workers WHERE state = 'live') w GROUP BY w.state
  UNION ALL
  SELECT 'quantum_dead_events', d.sink, count(*)::float
  FROM (SELECT sink FROM dead_events LIMIT 10000) d GROUP BY d.sink
"""


def read_gauges(system: Database) -> list[Gauge]:
    """Return the gauges of all hosts; no count goes beyond 10,000. Raises Unavailable."""
    return [(row[0], row[1], float(row[2])) for row in system.call(_READ)]
