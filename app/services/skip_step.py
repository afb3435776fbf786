"""The operator's skip of a step: its dependants go on without it."""

from __future__ import annotations

from uuid import UUID

from app.db import runs
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.family import pass_down
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.retry_run import run_of
from app.services.submit import SubmitDeps


def skip_step(
    deps: SubmitDeps,
    actor: Actor,
    run_id: UUID,
    key: str,
    reason: str,
    version: int | None = None,
    *,
    receipt: Receipt = NO_RECEIPT,
) -> Run:
    """Skip the step in one commit, and send what that released after it; the reason stands in its error.

    Raises NotFound, PreconditionFailed when `version` is not the run's present one, IllegalState unless the
    step has not begun in a run under way or failed in a failed run, Conflict when the intent has another open
    run.
    """
    tenant_id = actor.tenant_id
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        verdict, run = runs.skip_step(connection, tenant_id, run_id, key, actor.as_json(), version, reason)
        checked = run_of(verdict, run, "skipped")
        deps.admission.reenter(connection, checked)
        receipt.close(connection, checked)
    deps.outbox.later(lambda: pass_down(deps.engine, actor.as_json(), tenant_id, run_id))
    deps.outbox.later(deps.admission.look)
    return checked
