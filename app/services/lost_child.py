"""What becomes of a step when its pool process died or was killed at the hard time limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.db import hot, workers
from app.domain.errors import OperationFailed
from app.domain.leases import Child, HeldClaim, Lease, StepMessage
from app.domain.retry import decide as decide_retry
from app.services.advance import advance
from app.services.dispatch import Dispatch, advance_each
from app.services.execute import policy_of


@dataclass(frozen=True, slots=True)
class Nursing:
    """What the parent of a pool needs; `random` yields 0 <= x < 1."""

    dispatch: Dispatch
    random: Callable[[], float]


def release_child(nursing: Nursing, lease: Lease) -> None:
    """Release the claims of a dead pool process, and send its step again; each release counts as a kill."""
    runs = workers.release_child(nursing.dispatch.system, lease.boot, lease.child)
    advance_each(nursing.dispatch.engine, runs, "dead_child")


def held_claims(nursing: Nursing, lease: Lease) -> list[HeldClaim]:
    """Return what the pool processes of this worker hold."""
    return workers.claims(nursing.dispatch.system, lease.boot)


def release_orphan(nursing: Nursing, claim: HeldClaim) -> None:
    """Release one claim that its living process does not work on, and send its step again."""
    engine = nursing.dispatch.engine
    message = StepMessage(claim.tenant_id, claim.run_id, claim.key, claim.epoch)
    error = {"code": "claim_orphaned", "message": "the process that won the claim never heard of it"}
    finish = hot.finish_step(engine.database, message, claim.tries, "killed", error=error)
    if finish.needs_advance:
        advance(engine, claim.tenant_id, claim.run_id)


def settle_timeout(nursing: Nursing, message: StepMessage, lease: Lease, tries: int, limit_s: float) -> None:
    """Settle the claim `tries` that its process held past the hard limit, by the step's retry policy."""
    engine = nursing.dispatch.engine
    held = hot.held_step(engine.database, message, lease)
    if held is None or held.tries != tries:
        return
    fault = OperationFailed("timeout", f"killed after {limit_s:g} s", retryable=True)
    decision = decide_retry(policy_of(held.definition), held.attempt, fault, nursing.random)
    finish = hot.finish_step(
        engine.database,
        message,
        held.tries,
        "retry" if decision.retry else "failed",
        error=fault.as_error(),
        retry_in_s=decision.delay_s if decision.retry else None,
    )
    if finish.needs_advance:
        advance(engine, message.tenant_id, message.run_id)


def child_lease(lease: Lease, child: Child) -> Lease:
    """Return the lease of another process of the same worker."""
    return Lease(lease.boot, child, lease.worker)
