"""The pause of a run: what runs may end, nothing more begins until the resume."""

from __future__ import annotations

from uuid import UUID

from app.db import runs
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.family import pass_down
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.retry_run import run_of
from app.services.submit import SubmitDeps


def pause_run(
    deps: SubmitDeps,
    actor: Actor,
    run_id: UUID,
    version: int | None = None,
    reason: str | None = None,
    *,
    receipt: Receipt = NO_RECEIPT,
) -> Run:
    """Pause the run in one commit: it is pausing while steps run, then paused; its messages become void.

    Its sub-workflows are paused after that, and go on with it.

    Raises NotFound, PreconditionFailed when `version` is not the present one, IllegalState when it has ended
    or is being cancelled.
    """
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        verdict, run = runs.pause_run(connection, actor.tenant_id, run_id, actor.as_json(), version, reason)
        checked = run_of(verdict, run, "paused")
        receipt.close(connection, checked)
    deps.outbox.later(lambda: pass_down(deps.engine, actor.as_json(), actor.tenant_id, run_id))
    return checked


def resume_run(
    deps: SubmitDeps, actor: Actor, run_id: UUID, version: int | None = None, *, receipt: Receipt = NO_RECEIPT
) -> Run:
    """Put the run under way again in one commit, and send what is ready after it.

    Raises NotFound, PreconditionFailed when `version` is not the present one, IllegalState when it has ended
    or is being cancelled.
    """
    tenant_id = actor.tenant_id
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        verdict, run = runs.resume_run(connection, tenant_id, run_id, actor.as_json(), version)
        checked = run_of(verdict, run, "resumed")
        deps.admission.reenter(connection, checked)
        receipt.close(connection, checked)
    deps.outbox.later(lambda: pass_down(deps.engine, actor.as_json(), tenant_id, run_id))
    deps.outbox.later(deps.admission.look)
    return checked
