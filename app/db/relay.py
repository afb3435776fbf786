"""The relay's side of the outbox: positions, shards held by lease, cursors, dead events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import text

from app.db.engine import Database
from app.domain.events import SHARDS, Event, Json
from app.domain.relay import Outgoing, Shard

_PRESENT = text("""
  INSERT INTO leases (name, owner, until)
  VALUES (:name, :owner, clock_timestamp() + CAST(:lease AS interval))
  ON CONFLICT (name) DO UPDATE SET until = excluded.until
""")
_CURSORS = text("""
  INSERT INTO relay_cursors (sink, shard) SELECT :sink, generate_series(0, :last)
  ON CONFLICT DO NOTHING
""")
_LIVING = text("SELECT count(*) FROM leases WHERE starts_with(name, :prefix) AND until > clock_timestamp()")
# Mine come first, so that a relay keeps what it has; what exceeds its share is given up, for a newcomer.
_CLAIM = text("""
  UPDATE relay_cursors c
  SET owner = CASE WHEN r.place <= :share THEN :owner END,
      lease_until = CASE WHEN r.place <= :share THEN clock_timestamp() + CAST(:lease AS interval) END
  FROM (
    SELECT shard, mine, row_number() OVER (ORDER BY mine DESC, shard) AS place
    FROM (
      SELECT shard, owner IS NOT DISTINCT FROM :owner AS mine
      FROM relay_cursors
      WHERE sink = :sink AND (owner = :owner OR owner IS NULL OR lease_until < clock_timestamp())
      ORDER BY shard FOR UPDATE SKIP LOCKED
    ) AS free
  ) AS r
  WHERE c.sink = :sink AND c.shard = r.shard AND (r.mine OR r.place <= :share)
""")
_HELD = """
  SELECT shard, position, epoch FROM relay_cursors
  WHERE sink = %(sink)s AND owner = %(owner)s AND lease_until > clock_timestamp() ORDER BY shard
"""
_READ = """
  SELECT e.id::text, e.tenant_id::text, e.subject, e.seq, e.type, e.data::text, e.created_at, e.position,
         e.trace, e.shard, d.event_id IS NOT NULL AS dead
  FROM unnest(CAST(%(shards)s AS smallint[]), CAST(%(positions)s AS bigint[])) AS s(number, after)
  CROSS JOIN LATERAL (
    SELECT id, tenant_id, subject, seq, type, data, created_at, position, trace, shard FROM events
    WHERE shard = s.number AND position > s.after ORDER BY position LIMIT %(limit)s
  ) AS e
  LEFT JOIN dead_events d
    ON d.tenant_id = e.tenant_id AND d.sink = %(sink)s AND d.subject = e.subject AND d.seq = e.seq
  ORDER BY e.position
"""
_ADVANCE = """
  UPDATE relay_cursors c SET position = m.target, updated_at = clock_timestamp()
  FROM unnest(CAST(%(shards)s AS smallint[]), CAST(%(origins)s AS bigint[]), CAST(%(targets)s AS bigint[]))
    AS m(shard, origin, target)
  WHERE c.sink = %(sink)s AND c.owner = %(owner)s AND c.shard = m.shard AND c.position = m.origin
"""
_REWIND = text("""
  UPDATE relay_cursors SET epoch = :epoch, updated_at = clock_timestamp(),
    position = LEAST(position, COALESCE(:target,
      (SELECT min(e.position) - 1 FROM events e
       WHERE e.shard = :shard AND e.position IS NOT NULL
         AND e.created_at >= clock_timestamp() - CAST(:back AS interval))))
  WHERE sink = :sink AND shard = :shard AND owner = :owner RETURNING position
""")
_BURY = text("""
  INSERT INTO dead_events (tenant_id, sink, subject, seq, event_id, position, attempts, error)
  VALUES (:tenant, :sink, :subject, :seq, :id, :position, :attempts, :error) ON CONFLICT DO NOTHING
""")
_RELEASE = text(
    "UPDATE relay_cursors SET owner = NULL, lease_until = NULL WHERE sink = :sink AND owner = :owner"
)


class _Read(UUID):
    """An identifier that keeps the text it was read as: each event goes out with it several times."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        object.__setattr__(self, "_text", text)

    def __str__(self) -> str:
        return self._text  # type: ignore[no-any-return, attr-defined]  # set past the guard of an immutable class


_tenant = lru_cache(maxsize=4096)(_Read)


class PostgresOutbox:
    """The outbox as the system role sees it; every call is one transaction and raises Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def number(self, limit: int) -> int:
        """Give the next positions to at most `limit` committed events; return how many."""
        return int(self._database.call("SELECT sequence_events(%s)", (limit,))[0][0])

    def claim(self, sink: str, owner: str, lease_s: float) -> None:
        """Renew the owner's leases, take free shards up to its fair share, give up what exceeds it."""
        lease = timedelta(seconds=lease_s)
        prefix = f"relay/{sink}/"
        with self._database.system() as connection:
            connection.execute(_PRESENT, {"name": prefix + owner, "owner": owner, "lease": lease})
            connection.execute(_CURSORS, {"sink": sink, "last": SHARDS - 1})
            living = int(connection.execute(_LIVING, {"prefix": prefix}).scalar_one())
            share = -(-SHARDS // max(living, 1))
            connection.execute(_CLAIM, {"sink": sink, "owner": owner, "lease": lease, "share": share})

    def held(self, sink: str, owner: str) -> tuple[Shard, ...]:
        """Return the shards whose lease the owner has now."""
        return tuple(Shard(*row) for row in self._database.call(_HELD, {"sink": sink, "owner": owner}))

    def read(self, sink: str, shards: Sequence[Shard], limit: int) -> tuple[Outgoing, ...]:
        """Return the next events of the shards in the order of positions, at most `limit` of each shard."""
        wanted = {
            "shards": [shard.number for shard in shards],
            "positions": [shard.position for shard in shards],
            "sink": sink,
            "limit": limit,
        }
        return tuple(
            Outgoing(
                Event(
                    _Read(id_),
                    _tenant(tenant),
                    subject,
                    seq,
                    type_,
                    Json(data),
                    None,
                    moment,
                    position,
                    trace,
                ),
                shard,
                dead,
            )
            for id_, tenant, subject, seq, type_, data, moment, position, trace, shard, dead in (
                self._database.call(_READ, wanted)
            )
        )

    def advance(self, sink: str, owner: str, moves: Mapping[int, tuple[int, int]]) -> None:
        """Move each shard's cursor (from, to), where the owner still holds it and nobody moved it."""
        values = {
            "sink": sink,
            "owner": owner,
            "shards": list(moves),
            "origins": [origin for origin, _ in moves.values()],
            "targets": [target for _, target in moves.values()],
        }
        self._database.call(_ADVANCE, values)

    def rewind(self, sink: str, owner: str, shard: Shard, epoch: str, to: int | None, back_s: float) -> Shard:
        """Note the epoch, set the cursor back to `to`, or before the events of the last `back_s` seconds.

        The cursor never moves forward; a shard that the owner lost comes back as it was.
        """
        values = {
            "sink": sink,
            "owner": owner,
            "shard": shard.number,
            "epoch": epoch,
            "target": to,
            "back": timedelta(seconds=back_s),
        }
        with self._database.system() as connection:
            position = connection.execute(_REWIND, values).scalar_one_or_none()
        return shard if position is None else replace(shard, position=position, epoch=epoch)

    def bury(self, sink: str, event: Event, attempts: int, reason: str) -> None:
        """Record that the sink will not get the event; harmless when repeated."""
        values = {
            "tenant": event.tenant_id,
            "sink": sink,
            "subject": event.subject,
            "seq": event.sequence,
            "id": event.id,
            "position": event.position,
            "attempts": attempts,
            "error": reason,
        }
        with self._database.system() as connection:
            connection.execute(_BURY, values)

    def release(self, sink: str, owner: str) -> None:
        """Give up all shards of the owner, and its presence."""
        with self._database.system() as connection:
            connection.execute(_RELEASE, {"sink": sink, "owner": owner})
            connection.execute(
                text("DELETE FROM leases WHERE name = :name"), {"name": f"relay/{sink}/{owner}"}
            )


def event_of(row: Any) -> Event:
    """Return the event of a row of the outbox."""
    return Event(
        id=row.id,
        tenant_id=row.tenant_id,
        subject=row.subject,
        sequence=row.seq,
        type=row.type,
        data=row.data,
        actor=row.actor,
        time=row.created_at,
        position=row.position,
        trace=row.trace,
    )
