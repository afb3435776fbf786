"""The timeline of a run: what its events, attempts, audit records tell, in the order of time."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.reads import Document
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

_TOLD: Final = """
  SELECT e.created_at AS at, 'event' AS source, lpad(e.seq::text, 10, '0') AS place,
         replace(e.type, 'io.quantum.', '') AS name, e.data ->> 'step' AS step,
         CAST(NULL AS integer) AS tries, e.actor, CAST(NULL AS text) AS worker,
         coalesce(e.data ->> 'reason', e.data ->> 'code') AS cause, e.data AS detail
  FROM events e WHERE e.tenant_id = :tenant AND e.subject = 'runs/' || CAST(:run AS text)
  UNION ALL
  SELECT a.created_at, 'audit', a.id::text, a.action, a.detail ->> 'step', NULL, a.actor, NULL,
         a.detail ->> 'reason', a.detail
  FROM audit_records a WHERE a.tenant_id = :tenant AND a.subject = 'runs/' || CAST(:run AS text)
  UNION ALL
  SELECT t.started_at, 'attempt', t.key || ' ' || lpad(t.tries::text, 10, '0') || ' 0', 'attempt.began',
         t.key, t.tries, NULL, t.worker, NULL, jsonb_build_object('attempt', t.attempt, 'round', t.round)
  FROM step_attempts t WHERE t.tenant_id = :tenant AND t.run_id = :run AND t.started_at IS NOT NULL
  UNION ALL
  SELECT s.started_at, 'attempt', s.key || ' ' || lpad(s.tries::text, 10, '0') || ' 0', 'attempt.began',
         s.key, s.tries, NULL, s.worker, NULL, jsonb_build_object('attempt', s.attempt, 'round', s.round)
  FROM run_steps s WHERE s.tenant_id = :tenant AND s.run_id = :run AND s.state = 'running'
  UNION ALL
  SELECT t.finished_at, 'attempt', t.key || ' ' || lpad(t.tries::text, 10, '0') || ' 1',
         'attempt.' || t.state, t.key, t.tries, NULL, t.worker,
         coalesce(t.error ->> 'message', t.error ->> 'code'),
         jsonb_build_object('attempt', t.attempt, 'round', t.round, 'error', t.error)
  FROM step_attempts t WHERE t.tenant_id = :tenant AND t.run_id = :run
"""
_SHOWN: Final = ("email", "user_id", "via")
"""Of an actor only who it is: addresses and request ids are the auditor's."""


def page(connection: Connection, tenant_id: UUID, run_id: UUID, wanted: PageRequest) -> Page[Document]:
    """Return what happened to the run, the first of it first."""
    values: dict[str, Any] = {"tenant": tenant_id, "run": run_id, "limit": wanted.limit + 1}
    behind = ""
    if wanted.after is not None:
        values["at"], values["source"], values["place"] = decode_cursor(wanted.after, 3)
        behind = " WHERE (at, source, place) > (CAST(:at AS timestamptz), :source, :place)"
    # place orders what has one moment.
    query = f"SELECT * FROM ({_TOLD}) told{behind} ORDER BY at, source, place LIMIT :limit"  # noqa: S608 - constants
    rows = [dict(row) for row in connection.execute(text(query), values).mappings()]
    for row in rows:
        if row["actor"] is not None:
            row["actor"] = {name: row["actor"][name] for name in _SHOWN if row["actor"].get(name)}
    found = tuple(rows[: wanted.limit])
    if len(rows) <= wanted.limit:
        return Page(found, None)
    last = found[-1]
    return Page(found, encode_cursor(last["at"].isoformat(), last["source"], last["place"]))
