"""Webhooks as their owners keep them, with their sealed secrets."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.named import LATEST, Named, Values
from app.domain.paging import Page, PageRequest

_COLUMNS: Final = """
  w.id, w.name, w.url, w.types, w.labels, w.state, w.disabled_reason, w.version, w.created_by, w.created_at,
  w.updated_at, q.breaker, q.failures, CASE WHEN q.breaker = 'open' THEN q.hold_until END AS retry_at,
  q.delivered_at, q.failing_since,
  ARRAY(SELECT jsonb_build_object('id', s.id, 'created_at', s.created_at, 'expires_at', s.expires_at)
        FROM webhook_secrets s WHERE s.tenant_id = w.tenant_id AND s.webhook_id = w.id
          AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp()) ORDER BY s.id DESC) AS secrets
"""
_FROM: Final = (
    "FROM webhooks w JOIN webhook_queues q ON q.tenant_id = w.tenant_id AND q.webhook_id = w.id"
    " WHERE w.tenant_id = :tenant"
)
CHANGEABLE: Final = ("name", "url", "types", "labels", "state", "disabled_reason")

_WEBHOOKS: Final = Named("webhooks", "webhook", "w", {"labels": "jsonb", "types": "text[]"})
change, delete = _WEBHOOKS.change, _WEBHOOKS.delete

WebhookRow = dict[str, Any]


def add(connection: Connection, tenant_id: UUID, webhook_id: UUID, by: UUID | None, values: Values) -> None:
    """Add a webhook that gets what happens from now on; raises Conflict when its name is taken."""
    _WEBHOOKS.add(connection, tenant_id, webhook_id, by, values, {"from_position": LATEST})
    queue = "INSERT INTO webhook_queues (tenant_id, webhook_id) VALUES (:tenant, :id)"
    connection.execute(text(queue), {"tenant": tenant_id, "id": webhook_id})


def touch(connection: Connection, tenant_id: UUID, webhook_id: UUID) -> None:
    """Count a change that stands elsewhere, such as one of its secrets."""
    statement = (
        "UPDATE webhooks SET version = version + 1, updated_at = clock_timestamp()"
        " WHERE tenant_id = :tenant AND id = :id"
    )
    connection.execute(text(statement), {"tenant": tenant_id, "id": webhook_id})


def wake(connection: Connection, tenant_id: UUID, webhook_id: UUID, *, afresh: bool) -> None:
    """Let somebody look at its queue when a delivery is due; `afresh` forgets failures, pauses."""
    values = {"tenant": tenant_id, "id": webhook_id}
    if afresh:
        reset = (
            "UPDATE webhook_queues SET breaker = 'closed', failures = 0, openings = 0, hold_until = NULL,"
            " failing_since = NULL, failed_at = NULL"
            " WHERE tenant_id = :tenant AND webhook_id = :id"
        )
        connection.execute(text(reset), values)
    connection.execute(text("SELECT webhook_due(:tenant, :id)"), values)


def find(
    connection: Connection, tenant_id: UUID, webhook_id: UUID, *, locked: bool = False
) -> WebhookRow | None:
    """Return a webhook; with `locked` nobody changes it or its deliveries before the transaction ends."""
    values = {"tenant": tenant_id, "id": webhook_id}
    if locked:
        # The queue's lock comes first everywhere: the fan-out holds it while it refers to the webhook.
        lock = "SELECT 1 FROM webhook_queues WHERE tenant_id = :tenant AND webhook_id = :id FOR UPDATE"
        connection.execute(text(lock), values)
    statement = f"SELECT {_COLUMNS} {_FROM} AND w.id = :id"
    row = connection.execute(text(statement), values).mappings().first()
    return dict(row) if row else None


def page(connection: Connection, tenant_id: UUID, wanted: PageRequest, state: str | None) -> Page[WebhookRow]:
    """Return the webhooks by name."""
    return _WEBHOOKS.page(connection, tenant_id, f"SELECT {_COLUMNS} {_FROM}", wanted, state)
