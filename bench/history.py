"""A history of finished runs, written by SQL as the owner: a million of them in minutes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import psycopg2

EVERY_MS: Final = 500
"""The time between two runs: so a million lies within the week for which events are kept."""
RARE: Final = 5000
"""One run in so many has failed."""
TABLES: Final = (
    "intents",
    "intent_generations",
    "intent_labels",
    "runs",
    "run_steps",
    "step_attempts",
    "events",
    "audit_records",
)

# Ids are UUIDv7. A run leaves a step, an attempt, three events, an audit record.
_MADE: Final = """
  CREATE TEMP TABLE made ON COMMIT DROP AS
    SELECT n, (lpad(to_hex(%(start_ms)s + n * %(every_ms)s), 12, '0') || '70008000'
             || lpad(to_hex(n), 12, '0'))::uuid AS id,
           to_timestamp(%(start_ms)s / 1000.0) + n * %(every_ms)s * interval '1 ms' AS at,
           CASE WHEN mod(n, %(rare)s) = 0 THEN 'failed' ELSE 'succeeded' END AS state
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) n;
  INSERT INTO intents (tenant_id, id, type_name, type_version, mode, name, phase, observed_generation,
                       event_seq, created_at)
    SELECT %(tenant)s, id, 'core.echo', 1, 'job', id::text, state, 1, 1, at FROM made;
  INSERT INTO intent_generations (tenant_id, intent_id, generation, spec, spec_hash, created_at)
    SELECT %(tenant)s, id, 1, '{"message": "hello"}', md5(n::text), at FROM made;
  INSERT INTO intent_labels (tenant_id, intent_id, key, value)
    SELECT %(tenant)s, id, 'team', CASE WHEN state = 'failed' THEN 'rare' ELSE 'usual' END FROM made;
  INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name,
                    workflow_version, state, open_steps, event_seq, created_at, started_at, finished_at)
    SELECT %(tenant)s, id, id, 1, 'core.echo', %(plan)s, 'core.echo', 1, state, 0, 2, at, at, at FROM made;
  INSERT INTO run_steps (tenant_id, run_id, key, base, seq, state, needs_left, successors, is_fan,
                         operation, queue, continue_on_failure, dispatch_epoch, attempt, tries, output,
                         started_at, finished_at)
    SELECT %(tenant)s, id, 'echo', 'echo', 0, state, 0, '{}', false, 'core.echo', 'default', false, 1, 1, 1,
           '{"message": "hello"}', at, at FROM made;
  INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state, started_at, finished_at)
    SELECT %(tenant)s, id, 'echo', 1, 1, 0, state, at, at FROM made;
  INSERT INTO events (tenant_id, subject, seq, type, data, shard, created_at, position)
    SELECT %(tenant)s, 'runs/' || id, seq, 'io.quantum.run.' || CASE seq WHEN 1 THEN 'started' ELSE state END,
           jsonb_build_object('run_id', id), mod(n, 8), at, nextval('event_positions')
    FROM made, generate_series(1, 2) seq;
  INSERT INTO events (tenant_id, subject, seq, type, data, shard, created_at, position)
    SELECT %(tenant)s, 'intents/' || id, 1, 'io.quantum.intent.created', jsonb_build_object('intent_id', id),
           mod(n, 8), at, nextval('event_positions') FROM made;
  INSERT INTO audit_records (tenant_id, id, actor, action, subject, detail, created_at)
    SELECT %(tenant)s, id, '{}', 'intent.create', 'intents/' || id, jsonb_build_object('run_id', id), at
    FROM made;
"""


@dataclass(frozen=True, slots=True)
class History:
    """Runs of one tenant under one plan that ended one after the other from `start` on."""

    owner_url: str
    tenant_id: UUID
    plan_hash: str
    start: datetime

    def run_id(self, n: int) -> UUID:
        """Return the id of the n-th run of the history, of its intent too."""
        return UUID(f"{self._start_ms + n * EVERY_MS:012x}70008000{n:012x}")

    @property
    def _start_ms(self) -> int:
        return int(self.start.timestamp() * 1000)

    def write(self, first: int, last: int) -> None:
        """Write the runs `first..last`, then let PostgreSQL count and tidy what it has got.

        The triggers that forbid a run to be born finished rest meanwhile, and so do the policies.
        """
        values = {
            "tenant": str(self.tenant_id),
            "plan": self.plan_hash,
            "start_ms": self._start_ms,
            "every_ms": EVERY_MS,
            "rare": RARE,
            "first": first,
            "last": last,
        }
        with closing(psycopg2.connect(self.owner_url)) as session:
            with session, session.cursor() as cursor:
                for table in TABLES:
                    cursor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY, DISABLE TRIGGER USER")
                cursor.execute(_MADE, values)
                for table in TABLES:
                    cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY, ENABLE TRIGGER USER")
            session.autocommit = True
            with session.cursor() as cursor:
                cursor.execute(f"VACUUM ANALYZE {', '.join(TABLES)}")
