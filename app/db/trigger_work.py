"""What triggers have to look at: stretches of the outbox, the events in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.events import SHARDS
from app.domain.triggers import MAX_CHAIN, Heard

SINK: Final = "triggers"
_CHAIN: Final = """
  LEFT JOIN LATERAL (SELECT f.depth, f.origin FROM trigger_firings f
    WHERE f.tenant_id = e.tenant_id AND f.intent_id = event_intent(e.tenant_id, e.subject)
    ORDER BY f.depth DESC LIMIT 1) f ON true
  LEFT JOIN LATERAL (SELECT count(*) AS declared FROM (
    SELECT 1 FROM trigger_firings d WHERE d.tenant_id = e.tenant_id AND d.origin = f.origin
      AND d.outcome = 'fired' LIMIT :most) d) d ON true
"""


class Stretch(NamedTuple):
    """Events of one shard behind the cursor, up to a position."""

    shard: int
    origin: int
    upto: int


class Candidate(NamedTuple):
    """A trigger that may fire, with the event by its key."""

    tenant_id: UUID
    trigger_id: UUID
    subject: str
    seq: int


def prepare(system: Database) -> None:
    """Let the outbox keep events until triggers have heard them."""
    system.call(
        "INSERT INTO relay_cursors (sink, shard) SELECT %s, generate_series(0, %s) ON CONFLICT DO NOTHING",
        (SINK, SHARDS - 1),
    )


def reach(system: Database, limit: int) -> list[Stretch]:
    """Return the next stretch of each shard that has one, of at most `limit` events."""
    return [Stretch(*row) for row in system.call("SELECT * FROM trigger_reach(%s)", (limit,))]


def candidates(system: Database, stretch: Stretch) -> list[Candidate]:
    """Return the triggers that hear events of the stretch, by tenant, in the events' order."""
    rows = system.call("SELECT * FROM trigger_candidates(%s::smallint, %s, %s)", stretch)
    return [Candidate(*row) for row in rows]


def advance(system: Database, stretch: Stretch) -> None:
    """Move the cursor behind the stretch, unless somebody has moved it."""
    system.call(
        "UPDATE relay_cursors SET position = %s, updated_at = clock_timestamp()"
        " WHERE sink = %s AND shard = %s AND position = %s",
        (stretch.upto, SINK, stretch.shard, stretch.origin),
    )


def heard(
    connection: Connection, tenant_id: UUID, found: Sequence[Candidate]
) -> Mapping[tuple[str, int], Heard]:
    """Return the events of the candidates by subject and sequence, each with what led to it."""
    statement = f"""
      SELECT e.id, e.type, e.subject, e.seq, e.created_at, e.data, coalesce(f.depth, 0) AS depth, f.origin,
             d.declared
      FROM (SELECT DISTINCT * FROM unnest(CAST(:subjects AS text[]), CAST(:seqs AS integer[]))
            AS u (subject, seq)) k
      JOIN events e ON e.tenant_id = :tenant AND e.subject = k.subject AND e.seq = k.seq
      {_CHAIN}
    """  # noqa: S608 - constants
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "most": MAX_CHAIN,
        "subjects": [one.subject for one in found],
        "seqs": [one.seq for one in found],
    }
    return {
        (row.subject, row.seq): Heard(
            str(row.id), row.type, row.subject, row.created_at, row.data, row.depth, row.origin, row.declared
        )
        for row in connection.execute(text(statement), values)
    }


def decided(
    connection: Connection, tenant_id: UUID, pairs: Sequence[tuple[UUID, str]]
) -> set[tuple[UUID, str]]:
    """Return those pairs of trigger and event that stand in the history; the triggers are locked."""
    statement = """
      SELECT f.trigger_id, f.event_id
      FROM unnest(CAST(:triggers AS uuid[]), CAST(:events AS text[])) AS p (trigger_id, event_id)
      JOIN trigger_firings f
        ON f.tenant_id = :tenant AND f.trigger_id = p.trigger_id AND f.event_id = p.event_id
    """
    values = {"tenant": tenant_id, "triggers": [one[0] for one in pairs], "events": [one[1] for one in pairs]}
    return {(row.trigger_id, row.event_id) for row in connection.execute(text(statement), values)}
