"""A step that becomes a run, a run that ends as a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.db import nesting
from app.db.engine import Connection
from app.domain.artifacts import INLINE_BYTES
from app.domain.documents import dump
from app.domain.errors import OperationFailed
from app.domain.retry import RetryPolicy, decide
from app.services.artifacts import Artifacts
from app.services.failing import failing
from app.services.plans import PlanCache
from app.services.ports import Engine
from workflows.decisions import DecisionFailed
from workflows.nesting import MAX_NESTING, evaluate_output

CHANCES = 1009


def begin_child(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    key: str,
    definition: Any,
    spec: Mapping[str, Any] | None,
) -> nesting.Begun:
    """Let a ready step become a run with this spec, or undo the one it was; raises DecisionFailed.

    Without a spec its `when` was false.
    """
    if definition.get("undo"):
        return nesting.start_undo(connection, tenant_id, run_id, key)
    begun = nesting.start_child(connection, tenant_id, run_id, key, spec, MAX_NESTING)
    if begun.verdict == "too_deep":
        raise DecisionFailed("too_deep", f"more than {MAX_NESTING} runs below each other")
    return begun


def send_again(engine: Engine, tenant_id: UUID, child_id: UUID) -> None:
    """Send a child that has ended on in a commit of its own: two runs are never locked at once."""
    with engine.database.tenant(tenant_id) as connection:
        nesting.send_on(connection, tenant_id, child_id)


def tell_parent(engine: Engine, tenant_id: UUID, run_id: UUID) -> UUID | None:
    """End the step that waits for this run, if the run has ended; return the parent if it can go on."""
    with engine.database.tenant(tenant_id) as connection:
        ended = nesting.find_ended(connection, tenant_id, run_id)
        if ended is None:
            return None
        output: Mapping[str, Any] | None = None
        error: Mapping[str, Any] | None = None
        retry_in_s: float | None = None
        if ended.state == "succeeded":
            try:
                output = output_of(
                    connection, engine.plans, engine.artifacts, tenant_id, run_id, ended.plan_hash
                )
            except OperationFailed as fault:
                error = fault.as_error()
        elif ended.state == "failed":
            retry_in_s = _retry_in_s(ended, run_id)
        told = nesting.end_child(connection, tenant_id, run_id, output, error, retry_in_s)
    return told.parent if told.needs_advance else None


def _retry_in_s(ended: nesting.EndedChild, run_id: UUID) -> float | None:
    """Return after how many seconds a run that failed goes on, by its step's retry; None for never."""
    fault = OperationFailed("child_failed", "its run ended failed")
    # The jitter is the identifier's own chance, so that whoever tells decides alike.
    chance = (run_id.int + ended.attempt) % CHANCES / CHANCES
    decision = decide(RetryPolicy(**ended.retry), ended.attempt, fault, lambda: chance)
    return decision.delay_s if decision.retry else None


def output_of(
    connection: Connection, plans: PlanCache, store: Artifacts, tenant_id: UUID, run_id: UUID, plan_hash: str
) -> dict[str, Any]:
    """Return what a run that ended well gives back, from its rows, which are final; raises OperationFailed.

    Large outputs of its steps are read where an expression looks into them; what would be too large for the
    parent's row is handed on as the reference that it is, held by the step that made it.
    """
    output = plans.get(connection, tenant_id, plan_hash).output
    if not output:
        return {}
    context = nesting.output_context(connection, tenant_id, run_id, output["refs"], output["uses_spec"])
    with failing("output_failed"):
        opened = store.opened(tenant_id, context)
        value = evaluate_output(output["value"], opened)
        if opened is context or len(dump(value)) <= INLINE_BYTES:
            return value
        return evaluate_output(output["value"], context)
