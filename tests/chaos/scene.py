"""What an injection sees of the platform: rows read past every policy, straight from the server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

import psycopg2
import redis
from psycopg2.extras import RealDictCursor

from tests.chaos.fleet import Fleet
from tests.services.rabbitmq import RabbitNode

IN_FLIGHT = """
  SELECT s.run_id, s.key, s.dispatch_epoch, s.tries, s.state::text, s.lease_boot, s.lease_pid, s.kills,
         extract(epoch FROM clock_timestamp() - s.started_at)::float AS age_s
  FROM run_steps s JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id
  WHERE s.state::text = 'running' OR (s.state::text = 'ready' AND s.sent_at IS NOT NULL)
"""
OPEN_CHORDS = """
  SELECT count(*) AS n FROM run_steps j
  JOIN runs r ON r.tenant_id = j.tenant_id AND r.id = j.run_id
  JOIN plan_steps p ON p.tenant_id = j.tenant_id AND p.plan_hash = r.plan_hash AND p.base = j.base
  WHERE j.state::text = 'pending' AND j.sent_at IS NOT NULL AND cardinality(p.needs) > 1
    AND EXISTS (SELECT 1 FROM run_steps h WHERE h.tenant_id = j.tenant_id AND h.run_id = j.run_id
                AND h.key = ANY (p.needs) AND h.carrier = j.carrier AND h.state::text IN ('ready', 'running'))
"""
UNMOVED = """
  SELECT count(*) AS n
  FROM unnest(%s::uuid[], %s::text[], %s::integer[], %s::integer[]) AS o (run, key, epoch, tries)
  JOIN run_steps s ON s.run_id = o.run AND s.key = o.key AND s.dispatch_epoch = o.epoch AND s.tries = o.tries
  JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id
  WHERE s.state::text = 'running'
     OR s.state::text = 'ready' AND (s.sent_at IS NOT NULL OR coalesce(r.held_steps, 0) = 0)
"""
"""A step that was given back, but waits for a place under its tenant's limit bears no mark of the harm."""


@dataclass(frozen=True, slots=True)
class Held:
    """A step that is leased, or whose message is under way."""

    run: UUID
    key: str
    epoch: int
    tries: int
    state: str
    boot: UUID | None
    pid: int | None
    kills: int
    age_s: float
    """Seconds since its claim."""


@dataclass
class Scene:
    """The platform at work; `random` decides all that is left to chance, outages last seconds.

    `brief_s` is for those whose length nobody has prescribed.
    """

    fleet: Fleet
    random: Random
    away_s: float
    valkey_away_s: float
    brief_s: float
    rabbit: RabbitNode | None = None
    """The broker, when it is not Valkey."""
    asking: Callable[[], int] = lambda: 0
    """How many submissions wait for an answer now."""
    _kept: threading.local = field(default_factory=threading.local)
    killed_children: set[int] = field(default_factory=set)

    @property
    def admin_url(self) -> str:
        return self.fleet.servers.database.admin

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Run one statement as the superuser, on this thread's connection; raises OperationalError."""
        connection = getattr(self._kept, "connection", None)
        if connection is None or connection.closed:
            connection = self._kept.connection = psycopg2.connect(self.admin_url, connect_timeout=5)
            connection.autocommit = True
        try:
            with connection.cursor(cursor_factory=RealDictCursor) as cursor:
                cursor.execute(statement, values or None)
                return [dict(row) for row in cursor.fetchall()] if cursor.description else []
        except psycopg2.Error:
            connection.close()
            raise

    def count(self, statement: str, *values: Any) -> int:
        """Return the number `n` of a statement's only row."""
        return int(self.rows(statement, *values)[0]["n"])

    def now(self) -> Any:
        """Return the database's time."""
        return self.rows("SELECT clock_timestamp() AS now")[0]["now"]

    def in_flight(self) -> list[Held]:
        """Return the steps that are leased or sent."""
        return [
            Held(
                row["run_id"],
                row["key"],
                row["dispatch_epoch"],
                row["tries"],
                row["state"],
                row["lease_boot"] if row["state"] == "running" else None,
                row["lease_pid"] if row["state"] == "running" else None,
                row["kills"],
                row["age_s"] or 0.0,
            )
            for row in self.rows(IN_FLIGHT)
        ]

    def open_chords(self) -> int:
        """Return how many joins wait within a canvas whose headers are under way."""
        return self.count(OPEN_CHORDS)

    def moved(self, held: Sequence[Held]) -> Callable[[], bool]:
        """Return a look that tells whether each of these has ended, was sent again or waits its turn."""
        values = (
            [step.run for step in held],
            [step.key for step in held],
            [step.epoch for step in held],
            [step.tries for step in held],
        )
        return lambda: self.count(UNMOVED, *values) == 0

    def boot_of(self, pid: int) -> UUID | None:
        """Return the boot of a worker's process."""
        found = self.rows("SELECT boot FROM workers WHERE pid = %s ORDER BY started_at DESC LIMIT 1", pid)
        return found[0]["boot"] if found else None

    def redis(self) -> redis.Redis:
        """Return a client of the broker."""
        return redis.Redis.from_url(self.fleet.servers.valkey.url, socket_timeout=5)


def steps_of(held: Sequence[Held], boot: UUID | None, pid: int | None = None) -> list[Held]:
    """Return what a worker holds, or one of its processes."""
    return [step for step in held if step.boot is not None and step.boot == boot and pid in (None, step.pid)]
