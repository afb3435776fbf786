"""What operations logged."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.documents import dump
from app.domain.leases import StepMessage

# The rows come in the order of the primary key, so the limit stops the reading early.
_LINES: Final = """
    SELECT l.tries, CAST(e.line ->> 'n' AS integer) AS n, e.line
    FROM step_logs l CROSS JOIN LATERAL jsonb_array_elements(l.lines) WITH ORDINALITY e (line, place)
    WHERE l.tenant_id = :tenant AND l.run_id = :run AND l.key = :key AND (l.tries, l.last) > (:tries, :n)
      AND (l.tries > :tries OR CAST(e.line ->> 'n' AS integer) > :n) AND l.tries <= :until
    ORDER BY l.tries, l.last, e.place LIMIT :limit
"""
_LAST_TRY: Final = 2**31 - 1


def write(
    database: Database, message: StepMessage, tries: int, last: int, lines: list[dict[str, Any]]
) -> None:
    """Write lines of the try `tries` of a step, `last` the number of the last; raises Unavailable."""
    database.call(
        "SELECT write_step_log(%s, %s, %s, %s, %s, %s::jsonb)",
        (message.tenant_id, message.run_id, message.key, tries, last, dump(lines)),
    )


def step_state(connection: Connection, tenant_id: UUID, run_id: UUID, key: str) -> str | None:
    """Return the state of a step, None when there is none."""
    query = "SELECT state FROM run_steps WHERE tenant_id = :tenant AND run_id = :run AND key = :key"
    found = connection.execute(text(query), {"tenant": tenant_id, "run": run_id, "key": key}).scalar()
    return None if found is None else str(found)


def lines_after(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    key: str,
    after: tuple[int, int],
    limit: int,
    only: int | None = None,
) -> list[dict[str, Any]]:
    """Return lines of a step behind (try, number), in order; `only` one try's."""
    tries, n = max(after, (only, 0)) if only is not None else after
    values = {
        "tenant": tenant_id,
        "run": run_id,
        "key": key,
        "tries": tries,
        "n": n,
        "until": _LAST_TRY if only is None else only,
        "limit": limit,
    }
    return [
        {**row.line, "attempt": row.tries, "n": row.n} for row in connection.execute(text(_LINES), values)
    ]
