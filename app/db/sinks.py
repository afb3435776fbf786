"""The sinks as the outbox knows them: how far each is, its dead letters, events to deliver once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.relay import event_of
from app.domain.events import SHARDS, Event
from app.domain.relay import Outgoing

COUNTED_AT_MOST = 100_000
_STANDING = text("""
  SELECT c.sink, min(c.position) AS position, sum(b.behind)::int AS behind, min(b.oldest) AS oldest,
         count(*) FILTER (WHERE c.lease_until > clock_timestamp())::int AS held,
         max(c.updated_at) AS moved_at,
         (SELECT count(*) FROM dead_events d WHERE d.sink = c.sink)::int AS dead
  FROM relay_cursors c
  CROSS JOIN LATERAL (
    SELECT count(*) AS behind, min(e.created_at) AS oldest
    FROM (SELECT created_at FROM events WHERE shard = c.shard AND position > c.position LIMIT :most) e
  ) b
  GROUP BY c.sink ORDER BY c.sink
""")
_FORGET = text("""
  DELETE FROM relay_cursors WHERE sink = :sink AND NOT EXISTS (
    SELECT FROM leases WHERE starts_with(name, 'relay/' || :sink || '/') AND until > clock_timestamp())
""")
_COLUMNS = (
    "e.tenant_id, e.subject, e.seq, e.id, e.type, e.data, e.actor, e.trace, e.created_at, e.shard, e.position"
)
_REPLAYED = text(f"""
  SELECT {_COLUMNS} FROM events e
  WHERE e.shard = :shard AND e.position > :after AND e.position <= :last
    AND (CAST(:since AS timestamptz) IS NULL OR e.created_at >= :since)
    AND (CAST(:until AS timestamptz) IS NULL OR e.created_at < :until)
    AND (CAST(:types AS text[]) IS NULL OR e.type = ANY (:types))
    AND (CAST(:subject AS text) IS NULL OR e.subject = :subject)
    AND (CAST(:tenant AS uuid) IS NULL OR e.tenant_id = :tenant)
  ORDER BY e.position LIMIT :limit
""")  # noqa: S608 - a constant list of columns
_DEAD = text(f"""
  SELECT {_COLUMNS}, d.sink, d.attempts, d.error, d.created_at AS died_at
  FROM dead_events d
  JOIN events e ON e.tenant_id = d.tenant_id AND e.subject = d.subject AND e.seq = d.seq
  WHERE (CAST(:sink AS text) IS NULL OR d.sink = :sink)
    AND (CAST(:ids AS uuid[]) IS NULL OR d.event_id = ANY (:ids))
  ORDER BY d.created_at, d.tenant_id, d.subject, d.seq LIMIT :limit
""")  # noqa: S608 - as above

_DROP = text("""
  DELETE FROM dead_events WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM dead_events
    WHERE sink = :sink AND (CAST(:ids AS uuid[]) IS NULL OR event_id = ANY (:ids))
    ORDER BY created_at LIMIT :limit FOR UPDATE))
  RETURNING event_id
""")


@dataclass(frozen=True, slots=True)
class Window:
    """Which events to deliver once more; what is None does not narrow."""

    since: datetime | None = None
    until: datetime | None = None
    types: tuple[str, ...] = ()
    subject: str | None = None
    tenant: UUID | None = None


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that a sink did not take, and why."""

    sink: str
    event: Event
    shard: int
    attempts: int
    error: str
    died_at: datetime


def standing(connection: Connection) -> list[dict[str, Any]]:
    """Return each sink: what all of its shards passed, events behind, shards held, dead letters."""
    return [dict(row) for row in connection.execute(_STANDING, {"most": COUNTED_AT_MOST}).mappings()]


def forget(connection: Connection, sink: str) -> int:
    """Delete the sink's cursors unless a relay works on it; return how many there were."""
    return connection.execute(_FORGET, {"sink": sink}).rowcount


def known(connection: Connection, sink: str) -> bool:
    """Whether the sink has cursors."""
    found = connection.execute(text("SELECT 1 FROM relay_cursors WHERE sink = :sink LIMIT 1"), {"sink": sink})
    return found.first() is not None


def last_position(connection: Connection) -> int:
    """Return the highest position given so far."""
    found = connection.execute(
        text(
            "SELECT coalesce(max(p.position), 0) FROM generate_series(0, :last) AS s(shard)"
            " CROSS JOIN LATERAL (SELECT position FROM events WHERE shard = s.shard AND position IS NOT NULL"
            "  ORDER BY position DESC LIMIT 1) p"
        ),
        {"last": SHARDS - 1},
    )
    return int(found.scalar_one())


def window(
    connection: Connection, wanted: Window, shard: int, after: int, last: int, limit: int
) -> tuple[Outgoing, ...]:
    """Return the next events of a shard in the window, behind one position up to another."""
    values = {
        "shard": shard,
        "after": after,
        "last": last,
        "since": wanted.since,
        "until": wanted.until,
        "types": list(wanted.types) or None,
        "subject": wanted.subject,
        "tenant": wanted.tenant,
        "limit": limit,
    }
    return tuple(Outgoing(event_of(row), row.shard, False) for row in connection.execute(_REPLAYED, values))


def dead(
    connection: Connection, sink: str | None, ids: Sequence[UUID] | None, limit: int
) -> tuple[DeadEvent, ...]:
    """Return dead letters whose event is still there, the oldest first."""
    values = {"sink": sink, "ids": None if ids is None else list(ids), "limit": limit}
    return tuple(
        DeadEvent(row.sink, event_of(row), row.shard, row.attempts, row.error, row.died_at)
        for row in connection.execute(_DEAD, values)
    )


def dropped(connection: Connection, sink: str, ids: Sequence[UUID] | None, limit: int) -> tuple[UUID, ...]:
    """Take dead letters of the sink away, the oldest first; return the ids of their events."""
    values = {"sink": sink, "ids": None if ids is None else list(ids), "limit": limit}
    return tuple(row.event_id for row in connection.execute(_DROP, values))


def revived(connection: Connection, letter: DeadEvent) -> bool:
    """Take the dead letter away; tell whether it was still there."""
    event = letter.event
    values = {"t": event.tenant_id, "sink": letter.sink, "subject": event.subject, "seq": event.sequence}
    gone = text(
        "DELETE FROM dead_events WHERE tenant_id = :t AND sink = :sink AND subject = :subject AND seq = :seq"
    )
    return bool(connection.execute(gone, values).rowcount)
