"""Deliveries of webhooks as their owners see them: the log, test deliveries, replays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

_COLUMNS: Final = (
    "event_id, subject, type, position, occurred_at, state, attempts, since, ready_at, last_status,"
    " last_error, finished_at"
)
Values = Mapping[str, Any]


def page(
    connection: Connection, tenant_id: UUID, webhook_id: UUID, wanted: PageRequest, state: str | None
) -> Page[Values]:
    """Return the deliveries, those of the latest events first."""
    values: dict[str, Any] = {"tenant": tenant_id, "webhook": webhook_id, "limit": wanted.limit + 1}
    where = ""
    if state is not None:
        # The index of what is not delivered goes by this form; what is delivered is nearly all.
        where = " AND state = :state" + (" AND state || '' <> 'delivered'" if state != "delivered" else "")
        values["state"] = state
    if wanted.after is not None:
        where, values["after"] = where + " AND event_id < :after", decode_cursor(wanted.after)[0]
    statement = (
        f"SELECT {_COLUMNS} FROM webhook_deliveries"  # noqa: S608 - constant
        f" WHERE tenant_id = :tenant AND webhook_id = :webhook{where} ORDER BY event_id DESC LIMIT :limit"
    )
    rows = [dict(row) for row in connection.execute(text(statement), values).mappings()]
    found = tuple(rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1]["event_id"]) if len(rows) > wanted.limit else None)


def find(connection: Connection, tenant_id: UUID, webhook_id: UUID, event_id: UUID) -> Values | None:
    """Return a delivery with its latest 100 attempts, if there is one."""
    values = {"tenant": tenant_id, "webhook": webhook_id, "event": event_id}
    where = "WHERE tenant_id = :tenant AND webhook_id = :webhook AND event_id = :event"
    statement = f"SELECT {_COLUMNS}, data FROM webhook_deliveries {where}"  # noqa: S608 - constant
    row = connection.execute(text(statement), values).mappings().first()
    if row is None:
        return None
    log = (
        f"SELECT n, at, latency_ms, status, error, response FROM webhook_attempts {where}"  # noqa: S608 - as above
        " ORDER BY n DESC LIMIT 100"
    )
    made = [dict(attempt) for attempt in connection.execute(text(log), values).mappings()]
    return {**row, "log": made[::-1]}


def add(connection: Connection, tenant_id: UUID, webhook_id: UUID, values: Values) -> None:
    """Add a delivery that is no event of the outbox, ready at once; the webhook is locked."""
    connection.execute(
        text(
            "INSERT INTO webhook_deliveries (tenant_id, webhook_id, event_id, subject, seq, type, data,"
            " occurred_at, position, ready_at) VALUES (:tenant, :webhook, :event_id, :subject, :seq, :type,"
            " CAST(:data AS jsonb), :occurred_at, 0, clock_timestamp())"
        ),
        {"tenant": tenant_id, "webhook": webhook_id, **values, "data": json.dumps(values["data"])},
    )


def renew(connection: Connection, tenant_id: UUID, webhook_id: UUID, events: Sequence[UUID]) -> int:
    """Deliver those of the deliveries again that have ended; return how many; the webhook is locked."""
    statement = "SELECT renew_deliveries(:tenant, :webhook, CAST(:events AS uuid[]))"
    values = {"tenant": tenant_id, "webhook": webhook_id, "events": list(events)}
    return int(connection.execute(text(statement), values).scalar_one())


def dead(connection: Connection, tenant_id: UUID, webhook_id: UUID, limit: int) -> list[UUID]:
    """Return the events of at most `limit` dead letters, the oldest first."""
    statement = (
        "SELECT event_id FROM webhook_deliveries WHERE tenant_id = :tenant AND webhook_id = :webhook"
        " AND state = 'dead' AND state || '' <> 'delivered' ORDER BY event_id LIMIT :limit"
    )
    values = {"tenant": tenant_id, "webhook": webhook_id, "limit": limit}
    return list(connection.execute(text(statement), values).scalars())


def replay(
    connection: Connection, tenant_id: UUID, webhook_id: UUID, after: int, since: datetime | None, limit: int
) -> tuple[int, int | None]:
    """Deliver what the outbox holds behind a position again; return how many, where to go on (None: all)."""
    statement = "SELECT replayed, next_after FROM replay_webhook(:tenant, :webhook, :after, :since, :limit)"
    values = {"tenant": tenant_id, "webhook": webhook_id, "after": after, "since": since, "limit": limit}
    row = connection.execute(text(statement), values).one()
    return row.replayed, row.next_after
