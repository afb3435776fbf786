"""Dead letters: steps that failed for good, parked until an operator replays or skips them."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.reads import Document, find_step
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

# A failure that was accepted is nobody's task, nor is one of a cancelled run; a fan fails by its items, which
# are listed themselves. state || '' is how the index of parked steps spells it.
_PARKED: Final = """
    SELECT s.run_id, s.key, s.base, s.item, s.operation, s.queue, s.attempt, s.tries, s.round, s.kills,
           s.error, s.finished_at AS parked_at, r.state AS run_state, r.type_name AS type, r.intent_id,
           r.version AS run_version
    FROM run_steps s JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id
    WHERE s.tenant_id = :tenant AND s.state || '' = 'failed' AND NOT s.continue_on_failure
      AND s.error ->> 'code' IS DISTINCT FROM 'items_failed'
      AND r.state NOT IN ('cancelling', 'cancelled', 'superseded')
"""


def page(connection: Connection, tenant_id: UUID, wanted: PageRequest) -> Page[Document]:
    """Return the dead letters, latest first."""
    values: dict[str, object] = {"tenant": tenant_id, "limit": wanted.limit + 1}
    query = _PARKED
    if wanted.after is not None:
        at, run, key = decode_cursor(wanted.after, 3)
        query += (
            " AND (s.finished_at, s.run_id, s.key) < (CAST(:at AS timestamptz), CAST(:run AS uuid), :key)"
        )
        values |= {"at": at, "run": run, "key": key}
    query += " ORDER BY s.finished_at DESC, s.run_id DESC, s.key DESC LIMIT :limit"
    rows = [dict(row) for row in connection.execute(text(query), values).mappings()]
    found = tuple(rows[: wanted.limit])
    return Page(found, _cursor(found[-1]) if len(rows) > wanted.limit else None)


def find(connection: Connection, tenant_id: UUID, run_id: UUID, key: str) -> Document | None:
    """Return the dead letter with its input and every attempt, None when that step is not parked."""
    values = {"tenant": tenant_id, "run": run_id, "key": key}
    row = (
        connection.execute(text(_PARKED + " AND s.run_id = :run AND s.key = :key"), values).mappings().first()
    )
    if row is None:
        return None
    step = find_step(connection, tenant_id, run_id, key) or {}
    return {**row, "input": step.get("input"), "attempts": step.get("attempts", [])}


def _cursor(last: Document) -> str:
    parked_at: datetime = last["parked_at"]
    return encode_cursor(parked_at.isoformat(), last["run_id"], last["key"])
