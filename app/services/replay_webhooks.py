"""The deliveries of a webhook as its owner handles them: looked at, tested, sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from app.db import deliveries, firings, trail, webhooks
from app.db.engine import Connection, Database
from app.db.trail import Mark
from app.domain.errors import IllegalState, NotFound
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.domain.webhooks import ping
from app.services.manage_webhooks import WebhookDeps
from app.services.receipts import NO_RECEIPT, Receipt

MOST_REPLAYED: Final = 5_000
"""Events looked at by one request; the answer tells where to go on."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replay:
    """How many events will be delivered again; `next_after` is where to go on, None when that was all."""

    replayed: int
    next_after: int | None


def list_deliveries(
    database: Database, actor: Actor, webhook_id: UUID, wanted: PageRequest, state: str | None
) -> Page[Document]:
    """Return the deliveries, those of the latest events first; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        _there(connection, actor, webhook_id)
        return deliveries.page(connection, actor.tenant_id, webhook_id, wanted, state)


def show_delivery(database: Database, actor: Actor, webhook_id: UUID, event_id: UUID) -> Document:
    """Return a delivery with its attempts; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        return _delivery(connection, actor, webhook_id, event_id)


def send_ping(deps: WebhookDeps, actor: Actor, webhook_id: UUID, receipt: Receipt = NO_RECEIPT) -> Document:
    """Send a test event, tried once; raises NotFound, IllegalState for a disabled webhook."""
    event_id = deps.new_id()
    with deps.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        _locked(connection, actor, webhook_id)
        now = firings.now(connection)
        deliveries.add(
            connection, actor.tenant_id, webhook_id, ping(event_id, actor.tenant_id, webhook_id, now)
        )
        webhooks.wake(connection, actor.tenant_id, webhook_id, afresh=False)
        _mark(connection, actor, webhook_id, "webhook.ping", {"event_id": str(event_id)})
        sent = _delivery(connection, actor, webhook_id, event_id)
        receipt.close(connection, sent)
    return sent


def replay_delivery(
    deps: WebhookDeps, actor: Actor, webhook_id: UUID, event_id: UUID, receipt: Receipt = NO_RECEIPT
) -> Document:
    """Deliver one event again; raises NotFound, IllegalState while it is tried or the webhook is disabled."""
    with deps.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        _locked(connection, actor, webhook_id)
        _delivery(connection, actor, webhook_id, event_id)
        if not deliveries.renew(connection, actor.tenant_id, webhook_id, [event_id]):
            raise IllegalState("the delivery is still tried")
        _mark(connection, actor, webhook_id, "webhook.replay", {"event_id": str(event_id)})
        again = _delivery(connection, actor, webhook_id, event_id)
        receipt.close(connection, again)
    return again


def replay_dead(deps: WebhookDeps, actor: Actor, webhook_id: UUID, receipt: Receipt = NO_RECEIPT) -> Replay:
    """Deliver the dead letters again, the oldest first, at most 5,000 of them."""
    with deps.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        _locked(connection, actor, webhook_id)
        found = deliveries.dead(connection, actor.tenant_id, webhook_id, MOST_REPLAYED)
        done = Replay(deliveries.renew(connection, actor.tenant_id, webhook_id, found), None)
        _mark(connection, actor, webhook_id, "webhook.replay", {"dead_letters": done.replayed})
        receipt.close(connection, done)
    return done


def replay_events(
    deps: WebhookDeps,
    actor: Actor,
    webhook_id: UUID,
    after: int,
    since: datetime | None,
    receipt: Receipt = NO_RECEIPT,
) -> Replay:
    """Deliver again what the outbox holds behind a position, or since a moment, as the filters are now.

    Events that were never delivered, such as those before the webhook was made, are delivered too.
    """
    with deps.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        _locked(connection, actor, webhook_id)
        done = Replay(
            *deliveries.replay(connection, actor.tenant_id, webhook_id, after, since, MOST_REPLAYED)
        )
        about = {"after": after, "since": since.isoformat() if since else None, "replayed": done.replayed}
        _mark(connection, actor, webhook_id, "webhook.replay", about)
        receipt.close(connection, done)
    return done


def _there(connection: Connection, actor: Actor, webhook_id: UUID) -> Mapping[str, Any]:
    row = webhooks.find(connection, actor.tenant_id, webhook_id)
    if row is None:
        raise NotFound("no such webhook")
    return row


def _locked(connection: Connection, actor: Actor, webhook_id: UUID) -> None:
    row = webhooks.find(connection, actor.tenant_id, webhook_id, locked=True)
    if row is None:
        raise NotFound("no such webhook")
    if row["state"] != "active":
        raise IllegalState("the webhook is disabled: enable it first")


def _delivery(connection: Connection, actor: Actor, webhook_id: UUID, event_id: UUID) -> Document:
    found = deliveries.find(connection, actor.tenant_id, webhook_id, event_id)
    if found is None:
        raise NotFound("no such delivery")
    return found


def _mark(
    connection: Connection, actor: Actor, webhook_id: UUID, action: str, detail: Mapping[str, Any]
) -> None:
    trail.leave(
        connection, actor.tenant_id, actor.as_json(), Mark(action, f"webhooks/{webhook_id}", None, detail)
    )
