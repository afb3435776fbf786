"""A history of so many runs, sound in every foreign key, for drills that copy whole databases."""

from __future__ import annotations

from tests.support.spine import Spine

FILL = """
  CREATE TEMP TABLE made AS
    SELECT n, (lpad(to_hex(1767225600000 + n * 1000), 12, '0') || '70008000'
             || lpad(to_hex(n), 12, '0'))::uuid AS id,
           timestamptz '2026-01-01 00:00Z' + n * interval '1 s' AS at,
           CASE WHEN mod(n, 5000) < 2 THEN 'failed' ELSE 'succeeded' END AS state
    FROM generate_series(1, %(runs)s) n;
  INSERT INTO intents (tenant_id, id, type_name, type_version, mode, phase, created_at)
    SELECT %(tenant)s, id, 'core.echo', 1, 'job', state, at FROM made;
  INSERT INTO intent_generations (tenant_id, intent_id, generation, spec, spec_hash, created_at)
    SELECT %(tenant)s, id, 1, jsonb_build_object('message', repeat(n::text, 20)), 'h', at FROM made;
  INSERT INTO intent_labels SELECT %(tenant)s, id, 'team', state FROM made;
  INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name,
                    workflow_version, state, open_steps, created_at)
    SELECT %(tenant)s, id, id, 1, 'core.echo', 'h', 'w', 1, state, 0, at FROM made;
  INSERT INTO run_steps (tenant_id, run_id, key, base, seq, state, needs_left, successors, is_fan, operation,
                         queue, continue_on_failure, finished_at)
    SELECT %(tenant)s, id, key, key, seq, state, 0, '{}', false, 'core.echo', 'default', false, at
    FROM made, (VALUES ('a', 0), ('b', 1)) AS k (key, seq);
  INSERT INTO events (tenant_id, subject, seq, type, data, actor, shard, created_at, position)
    SELECT %(tenant)s, 'runs/' || id, 1, 'io.quantum.run.succeeded', '{}', '{}', mod(n, 8), at, n FROM made;
  INSERT INTO audit_records (tenant_id, id, actor, action, subject, created_at)
    SELECT %(tenant)s, id, '{}', 'run.' || state, 'runs/' || id, at FROM made;
"""


def fill_history(spine: Spine, runs: int) -> None:
    """Give the tenant of the spine `runs` runs of two steps: eight rows each."""
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL session_replication_role = replica")  # a history, not a life: no triggers
        cursor.execute(FILL, {"tenant": spine.tenant, "runs": runs})
        session.commit()
