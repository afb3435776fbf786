"""The operator's retry: what failed or never ran runs again, what is done stays done."""

from __future__ import annotations

from uuid import UUID

from app.db import runs
from app.domain.errors import IllegalState, NotFound, PreconditionFailed, QuantumError
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.advance import advance
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.submit import SubmitDeps


def retry_run(
    deps: SubmitDeps, actor: Actor, run_id: UUID, version: int | None = None, *, receipt: Receipt = NO_RECEIPT
) -> Run:
    """Start the run's next round in one commit, and send it after.

    Raises NotFound, PreconditionFailed when `version` is not the present one, IllegalState unless it failed.
    """
    tenant_id = actor.tenant_id
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        verdict, run = runs.retry_run(connection, tenant_id, run_id, actor.as_json(), version)
        checked = run_of(verdict, run, "retried")
        receipt.close(connection, checked)
    deps.outbox.later(lambda: advance(deps.engine, tenant_id, run_id))
    return checked


def run_of(verdict: str, run: Run | None, done: str) -> Run:
    """Return the run of an `ok` verdict; raises what the other verdicts mean."""
    if verdict == "ok" and run is not None:
        return run
    raise refusal(verdict, run, done)


def refusal(verdict: str, run: Run | None, done: str) -> QuantumError:
    """Return the error of a verdict other than `ok`."""
    if run is None or verdict == "not_found":
        return NotFound("no such run")
    if verdict == "conflict":
        return PreconditionFailed(f"the run is at version {run.version}")
    return IllegalState(f"a run that is {run.state} cannot be {done}")
