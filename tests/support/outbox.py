"""Events in a real outbox, relays over them, what arrived in the streams."""

from __future__ import annotations

import contextlib
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg2
import redis

from app.db.engine import Database
from app.db.relay import PostgresOutbox
from app.messaging.streams import DEAD_STREAM, RedisStreams, StreamLimits, connect_streams, stream_of
from app.services.relay import Relay, RelayRules, Sink
from tests.support.servers import DatabaseUrls

EMIT = "SELECT emit_event(%s, %s, %s, 'run.started', %s, '{}')"
A = UUID("0197a000-0000-7000-8000-00000000000a")
B = UUID("0197a000-0000-7000-8000-00000000000b")


@dataclass(frozen=True, slots=True)
class OutboxRig:
    """One database plus one Redis."""

    urls: DatabaseUrls
    redis_url: str
    client: redis.Redis

    @contextlib.contextmanager
    def writing(self, tenant: UUID) -> Iterator[psycopg2.extensions.cursor]:
        """A transaction of the app role as the tenant, committed at the end of the block."""
        with contextlib.closing(psycopg2.connect(self.urls.app)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute("SELECT set_config('app.tenant_id', %s, true)", (str(tenant),))
            yield cursor

    def emit(self, tenant: UUID, subject: str, first: int, last: int, data: Any = None) -> None:
        """Commit the events `first..last` of a subject."""
        with self.writing(tenant) as cursor:
            for seq in range(first, last + 1):
                cursor.execute(EMIT, (str(tenant), subject, seq, json.dumps(data or {})))

    def system(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Execute as the system role."""
        with contextlib.closing(psycopg2.connect(self.urls.system)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def sink(self, **limits: Any) -> RedisStreams:
        return RedisStreams(connect_streams(self.redis_url), StreamLimits(**limits))

    def relay(self, owner: str = "one", sink: Sink | None = None, **rules: Any) -> Relay:
        return Relay(
            PostgresOutbox(Database(self.urls.system, "system")),
            sink or self.sink(),
            owner,
            replace(RelayRules(), **rules),
            clock=time.monotonic,
            now=lambda: datetime.now(UTC),
        )

    def stream(self, tenant: UUID) -> list[dict[str, Any]]:
        """Return the envelopes in the tenant's stream as they arrived."""
        return [json.loads(fields["event"]) for _, fields in self.client.xrange(stream_of(tenant))]

    def dead(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.client.xrange(DEAD_STREAM)]

    def sequences(self, tenant: UUID) -> dict[str, list[int]]:
        """Return what arrived of each subject, repetitions left out, in the order of first arrival."""
        found: dict[str, dict[int, None]] = defaultdict(dict)
        for event in self.stream(tenant):
            found[event["subject"]].setdefault(int(event["sequence"]))
        return {subject: list(numbers) for subject, numbers in found.items()}
