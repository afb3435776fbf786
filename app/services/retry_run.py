"""The operator's retry: what failed or never ran runs again, what is done stays done."""

from __future__ import annotations

from uuid import UUID

from app.db import runs
from app.domain.errors import Conflict, IllegalState, NotFound, PreconditionFailed, QuantumError
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.submit import SubmitDeps


def retry_run(
    deps: SubmitDeps,
    actor: Actor,
    run_id: UUID,
    version: int | None = None,
    *,
    from_step: str | None = None,
    receipt: Receipt = NO_RECEIPT,
) -> Run:
    """Start the run's next round in one commit, and send it after.

    Without `from_step` what failed or never ran runs; with it that step, whatever became of it, and all that
    depends on it.

    Raises NotFound, PreconditionFailed when `version` is not the present one, IllegalState unless the run
    failed, or when another failed step holds `from_step` back, Conflict when the intent has another open run.
    """
    tenant_id = actor.tenant_id
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        verdict, run = runs.retry_run(connection, tenant_id, run_id, actor.as_json(), version, from_step)
        checked = run_of(verdict, run, "retried")
        deps.admission.reenter(connection, checked)
        receipt.close(connection, checked)
    deps.outbox.later(lambda: deps.admission.go_on(tenant_id, run_id))
    return checked


def run_of(verdict: str, run: Run | None, done: str) -> Run:
    """Return the run of an `ok` verdict; raises what the other verdicts mean."""
    if verdict == "ok" and run is not None:
        return run
    raise refusal(verdict, run, done)


def refusal(verdict: str, run: Run | None, done: str) -> QuantumError:
    """Return the error of a verdict other than `ok`."""
    if run is None:
        return NotFound("no such run")
    errors = {
        "no_step": NotFound("no such step"),
        "conflict": PreconditionFailed(f"the run is at version {run.version}"),
        "occupied": Conflict("another run of this intent is under way", "intent_occupied"),
        "held_back": IllegalState("the step waits for another one that failed: retry or skip that one"),
        "child": IllegalState(f"the run is a step of {run.parent_run_id}: steer that one, and it follows"),
        "parent_paused": IllegalState(f"the run {run.parent_run_id} that it is a step of is paused"),
        "undone": IllegalState("the run was compensated: a retry takes up all of it, not one step"),
        "illegal_step": IllegalState(
            f"the step as it stands, in a run that is {run.state}, cannot be {done}"
        ),
    }
    return errors.get(verdict) or IllegalState(f"a run that is {run.state} cannot be {done}")
