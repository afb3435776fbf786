"""The log of a step as its tenant reads it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import step_logs
from app.db.engine import Database
from app.domain.errors import NotFound
from app.domain.identity import Actor

START = "0.0"


def read_step_log(
    database: Database,
    actor: Actor,
    run_id: UUID,
    key: str,
    after: str | None,
    limit: int,
    *,
    only: int | None = None,
) -> dict[str, Any]:
    """Return lines of a step behind the cursor `after` (`try.number`), with the step's state before that.

    The last lines of an attempt are written before its outcome, so a state that is final comes with all of
    them. `only` asks for one try. Raises NotFound.
    """
    tries, _, n = (after or START).partition(".")
    with database.tenant(actor.tenant_id) as connection:
        state = step_logs.step_state(connection, actor.tenant_id, run_id, key)
        if state is None:
            raise NotFound("no such step")
        lines = step_logs.lines_after(
            connection, actor.tenant_id, run_id, key, (int(tries), int(n)), limit, only
        )
    last = f"{lines[-1]['attempt']}.{lines[-1]['n']}" if lines else after or START
    return {"items": lines, "next_cursor": last, "state": state}
