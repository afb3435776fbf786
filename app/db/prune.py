"""The deletion of rows that have served their time, a bounded number at once."""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

from app.db.engine import Database

# An event goes when every sink has passed it, unless it is a dead letter, to be replayed. The look
# starts at the oldest positions and is bounded,
# so that a pass with nothing to delete does not read the whole outbox. Readers are told how far it went.
_EVENTS = """
  WITH gone AS (
  DELETE FROM events WHERE (tenant_id, subject, seq) IN (
    SELECT e.tenant_id, e.subject, e.seq
    FROM (SELECT shard, min(position) AS passed FROM relay_cursors GROUP BY shard) AS s
    CROSS JOIN LATERAL (
      SELECT tenant_id, subject, seq, created_at FROM events x
      WHERE shard = s.shard AND position <= s.passed AND NOT EXISTS (
        SELECT FROM dead_events d
        WHERE d.tenant_id = x.tenant_id AND d.subject = x.subject AND d.seq = x.seq)
      ORDER BY position LIMIT :limit
    ) AS e
    WHERE e.created_at < clock_timestamp() - CAST(:keep AS interval))
  RETURNING tenant_id, position
  ), floors AS (
    INSERT INTO event_floors AS f (tenant_id, position)
    SELECT tenant_id, max(position) FROM gone GROUP BY tenant_id ORDER BY tenant_id
    ON CONFLICT (tenant_id) DO UPDATE SET position = greatest(f.position, excluded.position)
  )
  SELECT FROM gone
"""
_DELETIONS: Final = {
    "events": _EVENTS,
    "step_results": """
      DELETE FROM step_results WHERE ctid = ANY (ARRAY(SELECT ctid FROM step_results
        WHERE expires_at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "step_logs": """
      DELETE FROM step_logs WHERE ctid = ANY (ARRAY(SELECT ctid FROM step_logs
        WHERE at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "step_progress": """
      DELETE FROM step_progress WHERE ctid = ANY (ARRAY(SELECT ctid FROM step_progress
        WHERE created_at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "dead_events": """
      DELETE FROM dead_events WHERE ctid = ANY (ARRAY(SELECT ctid FROM dead_events
        WHERE created_at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "idempotency_keys": """
      DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotency_keys
        WHERE expires_at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "sign_in_failures": """
      DELETE FROM sign_in_failures WHERE ctid = ANY (ARRAY(SELECT ctid FROM sign_in_failures
        WHERE at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "refresh_families": """
      DELETE FROM refresh_families WHERE ctid = ANY (ARRAY(SELECT ctid FROM refresh_families
        WHERE expires_at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "bulk_action_items": """
      DELETE FROM bulk_action_items i WHERE ctid = ANY (ARRAY(SELECT i.ctid FROM bulk_actions b
        JOIN bulk_action_items i ON i.tenant_id = b.tenant_id AND i.bulk_id = b.id
        WHERE b.finished_at < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "bulk_actions": """
      DELETE FROM bulk_actions WHERE ctid = ANY (ARRAY(SELECT b.ctid FROM bulk_actions b
        WHERE b.finished_at < clock_timestamp() - CAST(:keep AS interval) AND NOT EXISTS (
          SELECT 1 FROM bulk_action_items i WHERE i.tenant_id = b.tenant_id AND i.bulk_id = b.id)
        LIMIT :limit))""",
    "leases": """
      DELETE FROM leases WHERE ctid = ANY (ARRAY(SELECT ctid FROM leases
        WHERE until < clock_timestamp() - CAST(:keep AS interval) LIMIT :limit))""",
    "webhook_deliveries": """
      DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhook_deliveries
        WHERE finished_at < clock_timestamp() - CAST(:keep AS interval) AND state = 'delivered'
        ORDER BY finished_at LIMIT :limit))""",
    "dead_webhook_deliveries": """
      DELETE FROM webhook_deliveries WHERE ctid = ANY (ARRAY(SELECT ctid FROM webhook_deliveries
        WHERE finished_at < clock_timestamp() - CAST(:keep AS interval)
        ORDER BY finished_at LIMIT :limit))""",
    "trigger_firings": """
      DELETE FROM trigger_firings WHERE ctid = ANY (ARRAY(SELECT ctid FROM trigger_firings
        WHERE created_at < clock_timestamp() - CAST(:keep AS interval) ORDER BY created_at LIMIT :limit))""",
    # Those that are still to start, or whose run goes on, stay; the look goes along the key.
    "schedule_firings": """
      DELETE FROM schedule_firings WHERE ctid = ANY (ARRAY(SELECT ctid FROM schedule_firings
        WHERE created_at < clock_timestamp() - CAST(:keep AS interval) AND NOT unfinished
          AND outcome NOT IN ('queued', 'planned') LIMIT :limit))""",
}
RELATIONS: Final = tuple(_DELETIONS)


class Pruner:
    """Deletes as the system role."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def delete(self, relation: str, keep_s: float, limit: int) -> int:
        """Delete at most about `limit` rows older than `keep_s` seconds; return how many went.

        Raises Unavailable; KeyError for a relation that is not one of RELATIONS.
        """
        with self._database.system() as connection:
            values = {"keep": f"{keep_s} seconds", "limit": limit}
            done = connection.execute(text(_DELETIONS[relation]), values)
            return len(done.all()) if done.returns_rows else done.rowcount
