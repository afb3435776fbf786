"""Webhooks as their owners keep them, with their sealed secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

_COLUMNS: Final = """
  w.id, w.name, w.url, w.types, w.labels, w.state, w.disabled_reason, w.version, w.created_by, w.created_at,
  w.updated_at, q.breaker, q.failures, CASE WHEN q.breaker = 'open' THEN q.hold_until END AS retry_at,
  q.delivered_at,
  ARRAY(SELECT jsonb_build_object('id', s.id, 'created_at', s.created_at, 'expires_at', s.expires_at)
        FROM webhook_secrets s WHERE s.tenant_id = w.tenant_id AND s.webhook_id = w.id
          AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp()) ORDER BY s.id DESC) AS secrets
"""
_FROM: Final = (
    "FROM webhooks w JOIN webhook_queues q ON q.tenant_id = w.tenant_id AND q.webhook_id = w.id"
    " WHERE w.tenant_id = :tenant"
)
CHANGEABLE: Final = ("name", "url", "types", "labels", "state", "disabled_reason")

Values = Mapping[str, Any]
WebhookRow = dict[str, Any]


def count(connection: Connection, tenant_id: UUID) -> int:
    """Return how many webhooks the tenant has."""
    statement = "SELECT count(*) FROM webhooks WHERE tenant_id = :tenant"
    return int(connection.execute(text(statement), {"tenant": tenant_id}).scalar_one())


def add(connection: Connection, tenant_id: UUID, webhook_id: UUID, by: UUID | None, values: Values) -> None:
    """Add a webhook that gets what happens from now on; raises Conflict when its name is taken."""
    columns = ", ".join(values)
    slots = ", ".join(_slot(name) for name in values)
    statement = (
        f"INSERT INTO webhooks (tenant_id, id, created_by, from_position, {columns})"  # noqa: S608 - names of CHANGEABLE
        " SELECT :tenant, :id, :by, coalesce((SELECT max(position) FROM events WHERE tenant_id = :tenant"
        f" AND position IS NOT NULL), 0), {slots}"
    )
    _write(connection, statement, {"tenant": tenant_id, "id": webhook_id, "by": by, **_bound(values)})
    queue = "INSERT INTO webhook_queues (tenant_id, webhook_id) VALUES (:tenant, :id)"
    connection.execute(text(queue), {"tenant": tenant_id, "id": webhook_id})


def change(connection: Connection, tenant_id: UUID, webhook_id: UUID, values: Values) -> None:
    """Change a locked webhook; raises Conflict when its new name is taken."""
    columns = ", ".join(f"{name} = {_slot(name)}" for name in values)
    statement = (
        f"UPDATE webhooks SET {columns}, version = version + 1, updated_at = clock_timestamp()"  # noqa: S608 - as above
        " WHERE tenant_id = :tenant AND id = :id"
    )
    _write(connection, statement, {"tenant": tenant_id, "id": webhook_id, **_bound(values)})


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
            "UPDATE webhook_queues SET breaker = 'closed', failures = 0, openings = 0, hold_until = NULL"
            " WHERE tenant_id = :tenant AND webhook_id = :id"
        )
        connection.execute(text(reset), values)
    connection.execute(text("SELECT webhook_due(:tenant, :id)"), values)


def delete(connection: Connection, tenant_id: UUID, webhook_id: UUID) -> None:
    """Delete a webhook with its secrets, deliveries, log."""
    values = {"tenant": tenant_id, "id": webhook_id}
    connection.execute(text("DELETE FROM webhooks WHERE tenant_id = :tenant AND id = :id"), values)


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
    values: dict[str, Any] = {"tenant": tenant_id, "limit": wanted.limit + 1}
    where = ""
    if state is not None:
        where, values["state"] = " AND w.state = :state", state
    if wanted.after is not None:
        where, values["after"] = where + " AND w.name > :after", decode_cursor(wanted.after)[0]
    statement = f"SELECT {_COLUMNS} {_FROM}{where} ORDER BY w.name LIMIT :limit"
    rows = [dict(row) for row in connection.execute(text(statement), values).mappings()]
    found = tuple(rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1]["name"]) if len(rows) > wanted.limit else None)


def _write(connection: Connection, statement: str, values: Values) -> None:
    try:
        connection.execute(text(statement), dict(values))
    except IntegrityError as taken:
        raise Conflict("a webhook of this name exists", "name_taken") from taken


def _slot(name: str) -> str:
    return {"labels": "CAST(:labels AS jsonb)", "types": "CAST(:types AS text[])"}.get(name, f":{name}")


def _bound(values: Values) -> dict[str, Any]:
    return {name: json.dumps(value) if name == "labels" else value for name, value in values.items()}
