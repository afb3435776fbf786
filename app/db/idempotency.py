"""Answers kept for repeated requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

KEPT_FOR: Final = "24 hours"


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer to the first request of a key, with the hash of that request."""

    request_hash: str
    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Whether this transaction may answer, or what was answered before."""

    acquired: bool
    stored: Stored | None


_CLAIM: Final = text(
    """
    SELECT pg_try_advisory_xact_lock(
               hashtextextended(concat_ws('|', :tenant, :actor, :route, :key), 20)) AS acquired,
           k.request_hash, k.status, k.headers, k.body
    FROM (SELECT 1) one
    LEFT JOIN idempotency_keys k
      ON k.tenant_id = CAST(:tenant AS uuid) AND k.actor = :actor AND k.route = :route AND k.key = :key
     AND k.expires_at > clock_timestamp()
    """
)

# An expired answer gives way; a live one stays: then another transaction was faster than our snapshot.
_KEEP: Final = text(
    """
    INSERT INTO idempotency_keys AS k
           (tenant_id, actor, route, key, request_hash, status, headers, body, expires_at)
    VALUES (:tenant, :actor, :route, :key, :request_hash, :status, CAST(:headers AS jsonb), :body,
            clock_timestamp() + CAST(:kept_for AS interval))
    ON CONFLICT (tenant_id, actor, route, key) DO UPDATE
       SET request_hash = excluded.request_hash, status = excluded.status, headers = excluded.headers,
           body = excluded.body, created_at = clock_timestamp(), expires_at = excluded.expires_at
     WHERE k.expires_at <= clock_timestamp()
    RETURNING 1
    """
)


def claim(connection: Connection, tenant_id: UUID, actor: str, route: str, key: str) -> Claim:
    """Lock the key until the transaction ends, without waiting; return what is stored of it."""
    row = connection.execute(
        _CLAIM, {"tenant": str(tenant_id), "actor": actor, "route": route, "key": key}
    ).one()
    stored = None
    if row.request_hash is not None:
        stored = Stored(row.request_hash, row.status, row.headers, row.body)
    return Claim(row.acquired, stored)


def keep(connection: Connection, tenant_id: UUID, actor: str, route: str, key: str, stored: Stored) -> bool:
    """Keep the answer for 24 hours; tells whether no other transaction kept one meanwhile."""
    values: dict[str, Any] = {
        "tenant": tenant_id,
        "actor": actor,
        "route": route,
        "key": key,
        "request_hash": stored.request_hash,
        "status": stored.status,
        "headers": json.dumps(dict(stored.headers)),
        "body": stored.body,
        "kept_for": KEPT_FOR,
    }
    return connection.execute(_KEEP, values).first() is not None


def prune(connection: Connection, limit: int) -> int:
    """Delete up to `limit` expired answers; return how many went."""
    gone = connection.execute(
        text(
            "DELETE FROM idempotency_keys WHERE (tenant_id, actor, route, key) IN ("
            "SELECT tenant_id, actor, route, key FROM idempotency_keys"
            " WHERE expires_at <= clock_timestamp() LIMIT :limit)"
        ),
        {"limit": limit},
    )
    return gone.rowcount
