"""The cancellation of a run: what runs is stopped, what waits never starts."""

from __future__ import annotations

from uuid import UUID

from app.db import runs
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.advance import advance
from app.services.family import pass_down
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.retry_run import run_of
from app.services.submit import SubmitDeps


def cancel_run(
    deps: SubmitDeps,
    actor: Actor,
    run_id: UUID,
    version: int | None = None,
    reason: str | None = None,
    *,
    compensate: bool = False,
    receipt: Receipt = NO_RECEIPT,
) -> Run:
    """Cancel the run in one commit; workers hear of their running steps with the next heartbeat.

    Its sub-workflows are cancelled after that; the run is cancelling until they have ended.
    With `compensate` what it completed is undone before it ends.

    Raises NotFound, PreconditionFailed when `version` is not the present one, IllegalState when it has ended.
    """
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        verdict, run = runs.cancel_run(
            connection, actor.tenant_id, run_id, actor.as_json(), version, reason, compensate
        )
        checked = run_of(verdict, run, "cancelled")
        receipt.close(connection, checked)
    deps.outbox.later(lambda: pass_down(deps.engine, actor.as_json(), actor.tenant_id, run_id))
    if checked.state == "compensating":
        deps.outbox.later(lambda: advance(deps.engine, actor.tenant_id, run_id))
    return checked
