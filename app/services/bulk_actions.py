"""Bulk actions as operators handle them: previewed, made, looked at, steered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.db import bulk, caps
from app.db.engine import Connection, Database
from app.db.reads import Document
from app.domain.bulk import LEGAL_STATES, MOST_ITEMS, USUAL_PER_SECOND, BulkAction
from app.domain.errors import IllegalState, InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.submit import SubmitDeps


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """What an operator asks for: the oldest `limit` runs of the filter, at most `rate` items per second."""

    action: str
    filter: Mapping[str, Any] = field(default_factory=dict)
    rate: float = USUAL_PER_SECOND
    limit: int = MOST_ITEMS
    reason: str | None = None


def preview_bulk_action(database: Database, actor: Actor, order: BulkOrder) -> dict[str, Any]:
    """Count what the order would find now, with the first of it; nothing changes. Raises InvalidInput."""
    _check(order)
    with database.tenant(actor.tenant_id) as connection:
        matched, sample = bulk.preview(connection, actor.tenant_id, order.action, order.filter)
    return {"matched": matched, "sample": sample}


def create_bulk_action(
    deps: SubmitDeps, actor: Actor, order: BulkOrder, *, receipt: Receipt = NO_RECEIPT
) -> BulkAction:
    """Freeze what the order finds, in one commit; beat acts on it after. Raises InvalidInput, CapReached."""
    _check(order)
    tenant_id = actor.tenant_id
    made = BulkAction(
        id=deps.new_id(),
        action=order.action,
        filter={name: _shown(value) for name, value in order.filter.items() if value is not None},
        state="running",
        rate=order.rate,
        reason=order.reason,
        matched=0,
        total=0,
        done=0,
        counts={},
        version=1,
        created_by=actor.as_json(),
        created_at=datetime.now(UTC),
        finished_at=None,
    )
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        with caps.room(connection, tenant_id, "bulk_actions"):
            bulk.freeze(connection, tenant_id, made, order.filter, order.limit)
        frozen = _found(connection, tenant_id, made.id)
        receipt.close(connection, frozen)
    return frozen


def list_bulk_actions(
    database: Database, actor: Actor, wanted: PageRequest, state: str | None = None
) -> Page[BulkAction]:
    """Return the tenant's bulk actions, latest first."""
    with database.tenant(actor.tenant_id) as connection:
        return bulk.page(connection, actor.tenant_id, wanted, state)


def show_bulk_action(database: Database, actor: Actor, bulk_id: UUID) -> BulkAction:
    """Return a bulk action with its first items; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        return _found(connection, actor.tenant_id, bulk_id)


def list_bulk_items(
    database: Database, actor: Actor, bulk_id: UUID, wanted: PageRequest, outcome: str | None = None
) -> Page[Document]:
    """Return what became of the items, in their order; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        _found(connection, actor.tenant_id, bulk_id)
        return bulk.page_items(connection, actor.tenant_id, bulk_id, wanted, outcome)


def steer_bulk_action(
    database: Database,
    actor: Actor,
    bulk_id: UUID,
    verb: str,
    version: int | None = None,
    *,
    receipt: Receipt = NO_RECEIPT,
) -> BulkAction:
    """Pause, resume or cancel (the verb) in one commit: then no item is acted on, what is done stays.

    Raises NotFound, PreconditionFailed when `version` is not the present one, IllegalState when it has ended.
    """
    with database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        verdict = bulk.steer(connection, actor.tenant_id, bulk_id, actor.as_json(), version, verb)
        present = _found(connection, actor.tenant_id, bulk_id)
        if verdict == "conflict":
            raise PreconditionFailed(f"the bulk action is at version {present.version}")
        if verdict != "ok":
            raise IllegalState(f"a bulk action that is {present.state} cannot go on or be stopped")
        receipt.close(connection, present)
    return present


def _check(order: BulkOrder) -> None:
    """Raise InvalidInput when the filter asks for a state that the action is not for."""
    state, legal = order.filter.get("state"), LEGAL_STATES[order.action]
    if state is not None and state not in legal:
        raise InvalidInput.at(
            "/filter/state", "state", f"{order.action} is for runs that are {', '.join(legal)}"
        )


def _found(connection: Connection, tenant_id: UUID, bulk_id: UUID) -> BulkAction:
    found = bulk.find(connection, tenant_id, bulk_id)
    if found is None:
        raise NotFound("no such bulk action")
    return found


def _shown(value: Any) -> Any:
    """Return a value of a filter as its JSON has it."""
    return value.isoformat() if isinstance(value, datetime) else value
