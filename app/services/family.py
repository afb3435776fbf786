"""What an operator does to a run is passed down to the runs that are its steps."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from app.db import nesting, runs
from app.db.nesting import Due
from app.observability.context import run_context
from app.observability.metrics import RECOVERIES
from app.services.advance import advance
from app.services.children import send_again
from app.services.dispatch import Dispatch
from app.services.ports import Engine

log = logging.getLogger(__name__)

RUNS_AT_ONCE = 500
RECOVERY: Final[Mapping[str, Any]] = {"user_id": None, "email": None, "service": "recovery"}
"""Who acts when a crash kept the operator's own call from passing it down."""


def pass_down(engine: Engine, actor: Mapping[str, Any], tenant_id: UUID, run_id: UUID) -> None:
    """Cancel, pause or resume the children of a run as the run is, each in a commit of its own, and theirs.

    A run that has ended by that brings its parent forward. Whatever a crash leaves undone recovery does.
    """
    with engine.database.tenant(tenant_id) as connection:
        due = nesting.due_of(connection, tenant_id, run_id)
    bring_in_line(engine, actor, due)
    advance(engine, tenant_id, run_id)


def follow_parents(deps: Dispatch) -> int:
    """Bring children in line with their parents across tenants; return how many were not."""
    due = nesting.children_due(deps.system, RUNS_AT_ONCE)
    RECOVERIES.labels("sub_workflow").inc(len(due))
    bring_in_line(deps.engine, RECOVERY, due)
    return len(due)


def bring_in_line(engine: Engine, actor: Mapping[str, Any], due: Iterable[Due]) -> None:
    """Do what is due to each child; one that fails does not keep the others waiting."""
    for one in due:
        tenant_id, run_id = one.run.tenant_id, one.run.run_id
        with run_context(tenant_id, run_id):
            try:
                _steer(engine, actor, one)
                if one.what in ("cancel", "pause", "resume"):
                    pass_down(engine, actor, tenant_id, run_id)
                else:
                    advance(engine, tenant_id, run_id)
            except Exception:
                # Whatever is wrong with one run of one tenant, it is not the others' fault: they go on.
                log.exception("child_left_to_recovery", extra={"what": one.what})


def _steer(engine: Engine, actor: Mapping[str, Any], due: Due) -> None:
    tenant_id, run_id = due.run.tenant_id, due.run.run_id
    if due.what in ("retry", "undo"):
        send_again(engine, tenant_id, run_id)
        return
    with engine.database.tenant(tenant_id) as connection:
        if due.what == "cancel":
            runs.cancel_run(connection, tenant_id, run_id, actor, None, "its parent no longer waits for it")
        elif due.what == "pause":
            verdict, _ = runs.pause_run(connection, tenant_id, run_id, actor, None, "its parent is paused")
            if verdict == "ok":
                nesting.note_paused_by_parent(connection, tenant_id, run_id)
        elif due.what == "resume":
            runs.resume_run(connection, tenant_id, run_id, actor, None)
