"""The execution of bulk actions: throttled, item by item, each through the service of the single action."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.db import bulk
from app.db.engine import Connection, Database
from app.domain.bulk import FROZEN_VERSION, LOADING, REPLAY, BulkBatch, BulkItem
from app.domain.errors import (
    Conflict,
    IllegalState,
    NotFound,
    PreconditionFailed,
    QuantumError,
    Unavailable,
)
from app.domain.identity import Actor
from app.domain.runs import Run
from app.observability.context import log_context
from app.services.cancel_run import cancel_run
from app.services.dead_letters import replay_dead_letter
from app.services.pause_run import pause_run, resume_run
from app.services.receipts import NoReceipt, Receipt
from app.services.rerun_run import rerun_run
from app.services.retry_run import retry_run
from app.services.schedule import LaneMark
from app.services.submit import SubmitDeps

log = logging.getLogger(__name__)

LEASE_S = 10.0
LOOK_EVERY_S = 0.25
ACTIONS_AT_ONCE = 20
LARGEST_BATCH = 100
MOST_WAITING = 200
"""Steps of a tenant in the broker above which its bulk actions make no more work."""
_OUTCOMES: tuple[tuple[type[QuantumError], str], ...] = (
    (NotFound, "not_found"),
    (IllegalState, "illegal"),
    (PreconditionFailed, "conflict"),
    (Conflict, "conflict"),
    (QuantumError, "error"),
)


class AtOnce:
    """Sends in the caller's thread; what cannot be sent now is sent by the dispatcher."""

    def __init__(self, epoch: Callable[[], str | None]) -> None:
        self.epoch = epoch

    def later(self, job: Callable[[], None]) -> None:
        """Run the job now."""
        try:
            job()
        except QuantumError:
            log.warning("bulk_send_failed")


class _Taken(Exception):
    # No error: the way out of a transaction whose item somebody else has, or whose action was stopped.
    pass


@dataclass(slots=True)
class _ItemReceipt(NoReceipt):
    """Claims the item in the very transaction that acts on the run, and keeps its outcome there."""

    batch: BulkBatch
    item: BulkItem
    owner: str

    def open(self, connection: Connection) -> None:
        """Claim the item first of all."""
        batch = self.batch
        if not bulk.claim_item(connection, batch.tenant_id, batch.id, self.item.n, self.owner):
            raise _Taken

    def close(self, connection: Connection, result: Run) -> None:
        """Write that it went well."""
        new_run_id = result.id if result.id != self.item.run_id else None
        self.settle(connection, "ok", new_run_id=new_run_id)

    def settle(self, connection: Connection, outcome: str, **values: Any) -> None:
        """Write the item's outcome."""
        bulk.settle_item(connection, self.batch.tenant_id, self.batch.id, self.item.n, outcome, **values)


def run_bulk_actions(deps: SubmitDeps, system: Database, owner: str) -> int:
    """Do one batch of each bulk action that is due and free, or ours; return how many items were settled.

    Two at once are harmless. Raises Unavailable.
    """
    number = 0
    for batch in bulk.lease(system, owner, LEASE_S, ACTIONS_AT_ONCE, LARGEST_BATCH):
        if (
            batch.action in LOADING
            and bulk.waiting_steps(system, batch.tenant_id, MOST_WAITING) >= MOST_WAITING
        ):
            continue  # the workers are behind: others of this tenant and elsewhere must not wait for these
        with deps.engine.database.tenant(batch.tenant_id) as connection:
            items = bulk.pending(connection, batch.tenant_id, batch.id, batch.size)
        actor = _actor_of(batch)
        for item in items:
            ids = {"tenant_id": batch.tenant_id, "run_id": item.run_id, "bulk_action": batch.id}
            try:
                with log_context(request_id=actor.request_id, **ids):
                    _do(deps, actor, batch, _ItemReceipt(batch, item, owner))
            except _Taken:
                break  # stopped, or another's by now
            number += 1
    return number


def _do(deps: SubmitDeps, actor: Actor, batch: BulkBatch, receipt: _ItemReceipt) -> None:
    """Act on one item; what refuses it becomes its outcome, in a transaction of its own."""
    refused = _refusal(deps, actor, batch, receipt)
    if refused is None:
        return
    outcome, error = refused
    with deps.engine.database.tenant(batch.tenant_id) as connection:
        receipt.open(connection)
        receipt.settle(connection, outcome, error=error)


def _refusal(
    deps: SubmitDeps, actor: Actor, batch: BulkBatch, receipt: _ItemReceipt
) -> tuple[str, dict[str, str]] | None:
    """Act on one item; return outcome with error when that is refused."""
    try:
        _act(deps, actor, batch, receipt.item, receipt)
    except (_Taken, Unavailable):
        raise  # it is nobody's fault: the item stays
    except QuantumError as fault:
        outcome = next(name for kind, name in _OUTCOMES if isinstance(fault, kind))
        return outcome, {"code": fault.code, "message": fault.message}
    except Exception:
        # One item that nobody foresaw must not keep the others from their turn.
        log.exception("bulk_item_raised", extra={"item": receipt.item.n})
        return "error", {"code": "internal", "message": "an internal error"}
    return None


def _act(deps: SubmitDeps, actor: Actor, batch: BulkBatch, item: BulkItem, receipt: Receipt) -> None:
    """Call the service of the single action."""
    run, version = item.run_id, item.version if batch.action in FROZEN_VERSION else None
    if batch.action == "cancel":
        cancel_run(deps, actor, run, version, batch.reason, receipt=receipt)
    elif batch.action == "pause":
        pause_run(deps, actor, run, version, batch.reason, receipt=receipt)
    elif batch.action == "resume":
        resume_run(deps, actor, run, version, receipt=receipt)
    elif batch.action == "rerun":
        rerun_run(deps, actor, run, version=version, receipt=receipt)
    elif batch.action == REPLAY and item.step is not None:
        replay_dead_letter(deps, actor, run, item.step, version, receipt=receipt)
    else:
        retry_run(deps, actor, run, version, receipt=receipt)


def _actor_of(batch: BulkBatch) -> Actor:
    """Return who made the action: what is done in it is done in that name."""
    who = batch.created_by
    return Actor(
        tenant_id=batch.tenant_id,
        tenant_slug="",
        user_id=UUID(who["user_id"]) if who.get("user_id") else None,
        email=who["email"],
        roles=frozenset(),
        request_id=who["request_id"],
        source_ip=who.get("source_ip"),
        via=f"bulk-actions/{batch.id}",
    )


class BulkRunner(threading.Thread):
    """Does what is due four times a second, beside beat's jobs: none of them waits for a long bulk action."""

    def __init__(self, deps: SubmitDeps, system: Database) -> None:
        super().__init__(name="bulk-actions", daemon=True)
        self._deps = deps
        self._system = system
        self._owner = str(deps.new_id())
        self._mark = LaneMark(system, "bulk")
        self._ended = threading.Event()

    def run(self) -> None:
        """Go on until `stop` is called; a database that is away is waited for."""
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                run_bulk_actions(self._deps, self._system, self._owner)
                self._mark.note()
            except Unavailable:
                log.warning("bulk_actions_wait_for_database")
            except Exception:
                # The thread must outlive whatever one look runs into: nobody else does bulk actions here.
                log.exception("bulk_actions_failed")

    def stop(self) -> None:
        """End the thread after the item it is at."""
        self._ended.set()
