"""A signal or a decision for a run that waits, or will."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from app.db import runs, waits
from app.db.waits import Told
from app.domain.errors import Conflict, Forbidden, IllegalState, InvalidInput, NotFound
from app.domain.identity import Actor, is_allowed
from app.domain.waits import DECISIONS, MAX_KEPT_SIGNALS, Approvers, SignalReceipt
from app.services.advance import advance
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.submit import SubmitDeps

MAX_REASON = 2_000


def tell_run(
    deps: SubmitDeps, actor: Actor, run_id: UUID, name: str, body: Any, *, receipt: Receipt = NO_RECEIPT
) -> SignalReceipt:
    """Give the run a signal, or, where the plan asks for approvers, the actor's decision; one commit.

    Raises NotFound for a run or a signal it does not know, Forbidden, InvalidInput for a decision that is
    none, IllegalState when the run is not under way, Conflict when nothing waits for a decision, when the
    actor has decided before, or when too many signals are kept.
    """
    tenant_id = actor.tenant_id
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        if runs.find(connection, tenant_id, run_id) is None:
            raise NotFound("no such run")
        point = waits.find_point(connection, tenant_id, run_id, name)
        if point is None:
            raise NotFound(f"no step of this run's workflow waits for the signal {name!r}")
        decision: str | None = None
        if point.approvers is None:
            if not is_allowed(actor, "runs:signal"):
                raise Forbidden("sending signals needs the permission runs:signal")
            told = waits.send_signal(connection, tenant_id, run_id, actor.as_json(), name, body)
        else:
            decision, reason = _decision(actor, point.approvers, body)
            told = waits.cast_vote(connection, tenant_id, run_id, actor.as_json(), name, decision, reason)
        _check(told, name)
        answer = SignalReceipt(name, told.step, str(told.run_state), decision)
        receipt.close(connection, answer)
    if told.needs_advance:
        deps.outbox.later(lambda: advance(deps.engine, tenant_id, run_id))
    return answer


def _decision(actor: Actor, approvers: Approvers, body: Any) -> tuple[str, str | None]:
    """Return decision with reason; the roles are asked first, so that others learn nothing."""
    if not approvers.admit(actor):
        raise Forbidden(f"only users with one of the roles {', '.join(sorted(approvers.roles))} decide this")
    if not isinstance(body, dict) or body.get("decision") not in DECISIONS:
        raise InvalidInput.at("/decision", "decision", "send {decision: approve | reject, reason: ...}")
    for member in sorted(body.keys() - {"decision", "reason"}):
        raise InvalidInput.at(f"/{member}", "unknown", "a decision holds decision, reason, nothing else")
    reason = body.get("reason")
    if reason is not None and not (isinstance(reason, str) and 0 < len(reason) <= MAX_REASON):
        raise InvalidInput.at("/reason", "reason", f"a reason is a text of 1 to {MAX_REASON} characters")
    return body["decision"], reason


def _check(told: Told, name: str) -> None:
    """Raise what a verdict other than ok means."""
    errors: dict[str, Callable[[], Exception]] = {
        "not_found": lambda: NotFound("no such run"),
        "illegal": lambda: IllegalState(f"a run that is {told.run_state} takes no signals"),
        "full": lambda: Conflict(f"{MAX_KEPT_SIGNALS} signals wait to be taken already", "too_many_signals"),
        "not_waiting": lambda: Conflict(f"no step waits for a decision about {name!r} now", "not_waiting"),
        "voted": lambda: Conflict("you have decided already", "already_decided"),
    }
    if told.verdict != "ok":
        raise errors[told.verdict]()
