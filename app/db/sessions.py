"""Sign-in attempts with the families of refresh tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text

WINDOW: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Family:
    """One family as its row stands, locked; `open` is false once it is revoked or over."""

    user_id: UUID
    current_hash: str = field(repr=False)
    open: bool


def note_attempts(connection: Connection, keys: list[str], ceiling: int) -> None:
    """Record one attempt under each key, before it is known how it ends.

    A key with `ceiling` attempts in the `WINDOW` gets no more: who goes on guessing fills no table.
    """
    connection.execute(
        text(
            "INSERT INTO sign_in_failures (key) SELECT k.key FROM unnest(CAST(:keys AS text[])) AS k (key)"
            " WHERE (SELECT count(*) FROM (SELECT 1 FROM sign_in_failures f WHERE f.key = k.key"
            "   AND f.at > clock_timestamp() - CAST(:window AS interval) LIMIT :ceiling) AS noted) < :ceiling"
        ),
        {"keys": keys, "window": WINDOW, "ceiling": ceiling},
    )


def count_attempts(connection: Connection, keys: list[str]) -> Mapping[str, int]:
    """Return how many attempts of the last `WINDOW` each key has that did not end well."""
    rows = connection.execute(
        text(
            "SELECT key, count(*) AS n FROM sign_in_failures"
            " WHERE key = ANY(:keys) AND at > clock_timestamp() - CAST(:window AS interval) GROUP BY key"
        ),
        {"keys": keys, "window": WINDOW},
    )
    return {row.key: row.n for row in rows}


def forgive(connection: Connection, key: str) -> None:
    """Forget the attempts under `key`."""
    connection.execute(text("DELETE FROM sign_in_failures WHERE key = :key"), {"key": key})


def forgive_one(connection: Connection, key: str) -> None:
    """Forget the latest attempt under `key`, which ended well."""
    connection.execute(
        text(
            "DELETE FROM sign_in_failures WHERE ctid = (SELECT ctid FROM sign_in_failures"
            " WHERE key = :key ORDER BY at DESC LIMIT 1)"
        ),
        {"key": key},
    )


def open_family(
    connection: Connection, tenant_id: UUID, family_id: UUID, user_id: UUID, digest: str, lifetime: timedelta
) -> None:
    """Add a family whose first token has `digest`."""
    connection.execute(
        text(
            "INSERT INTO refresh_families (tenant_id, id, user_id, current_hash, expires_at)"
            " VALUES (:tenant, :id, :user, :digest, clock_timestamp() + CAST(:lifetime AS interval))"
        ),
        {"tenant": tenant_id, "id": family_id, "user": user_id, "digest": digest, "lifetime": lifetime},
    )


def lock_family(connection: Connection, tenant_id: UUID, family_id: UUID) -> Family | None:
    """Return the family with its row locked, so that two uses of one token come one after the other."""
    row = connection.execute(
        text(
            "SELECT user_id, current_hash, revoked_at IS NULL AND expires_at > clock_timestamp() AS open"
            " FROM refresh_families WHERE tenant_id = :tenant AND id = :id FOR UPDATE"
        ),
        {"tenant": tenant_id, "id": family_id},
    ).first()
    return Family(row.user_id, row.current_hash, row.open) if row else None


def keep_latest(connection: Connection, tenant_id: UUID, user_id: UUID, most: int) -> int:
    """Keep `most` families of a user: those that are open, used last; return how many open ones went."""
    rows = connection.execute(
        text(
            "DELETE FROM refresh_families f WHERE f.tenant_id = :tenant AND f.id IN ("
            "  SELECT o.id FROM refresh_families o WHERE o.tenant_id = :tenant AND o.user_id = :user"
            "  ORDER BY (o.revoked_at IS NULL AND o.expires_at > clock_timestamp()) DESC, o.used_at DESC"
            "  OFFSET :most)"
            " RETURNING f.revoked_at IS NULL AND f.expires_at > clock_timestamp() AS open"
        ),
        {"tenant": tenant_id, "user": user_id, "most": most},
    )
    return sum(row.open for row in rows)


def rotate_family(connection: Connection, tenant_id: UUID, family_id: UUID, digest: str) -> None:
    """Make the token with `digest` the family's only good one."""
    connection.execute(
        text(
            "UPDATE refresh_families SET current_hash = :digest, used_at = clock_timestamp()"
            " WHERE tenant_id = :tenant AND id = :id"
        ),
        {"tenant": tenant_id, "id": family_id, "digest": digest},
    )


def revoke_family(connection: Connection, tenant_id: UUID, family_id: UUID) -> None:
    """End the family."""
    connection.execute(
        text(
            "UPDATE refresh_families SET revoked_at = clock_timestamp()"
            " WHERE tenant_id = :tenant AND id = :id AND revoked_at IS NULL"
        ),
        {"tenant": tenant_id, "id": family_id},
    )


def revoke_families_of(connection: Connection, tenant_id: UUID, user_id: UUID) -> None:
    """End every family of a user: after a new password, or when the user is closed."""
    connection.execute(
        text(
            "UPDATE refresh_families SET revoked_at = clock_timestamp()"
            " WHERE tenant_id = :tenant AND user_id = :user AND revoked_at IS NULL"
        ),
        {"tenant": tenant_id, "user": user_id},
    )
