"""Sealed secrets with the wrapped keys of their tenants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor


@dataclass(frozen=True, slots=True)
class SecretName:
    """A secret without its value."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A tenant's key, wrapped by the key-encryption key called `kek_id`."""

    kek_id: str
    nonce: bytes
    wrapped_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """A secret's ciphertext."""

    nonce: bytes
    ciphertext: bytes = field(repr=False)


_COLUMNS: Final = "name, version, created_at, updated_at"


def tenant_key(connection: Connection, tenant_id: UUID, *, held: bool = False) -> Wrapped | None:
    """Return the tenant's wrapped key, if it has one yet; `held`: nobody gives it up before this commit."""
    row = connection.execute(
        text(
            "SELECT kek_id, nonce, wrapped_key FROM tenant_keys WHERE tenant_id = :tenant"  # noqa: S608 - constants
            f"{' FOR SHARE' if held else ''}"
        ),
        {"tenant": tenant_id},
    ).first()
    return Wrapped(row.kek_id, bytes(row.nonce), bytes(row.wrapped_key)) if row else None


def add_tenant_key(connection: Connection, tenant_id: UUID, key: Wrapped) -> None:
    """Give the tenant a key, unless another transaction was faster."""
    connection.execute(
        text(
            "INSERT INTO tenant_keys (tenant_id, kek_id, nonce, wrapped_key)"
            " VALUES (:tenant, :kek_id, :nonce, :wrapped_key) ON CONFLICT DO NOTHING"
        ),
        {"tenant": tenant_id, "kek_id": key.kek_id, "nonce": key.nonce, "wrapped_key": key.wrapped_key},
    )


def replace_tenant_key(connection: Connection, tenant_id: UUID, old: Wrapped, new: Wrapped) -> bool:
    """Put `new` in the place of `old`; False when that is not the tenant's key any more."""
    return (
        connection.execute(
            text(
                "UPDATE tenant_keys SET kek_id = :kek_id, nonce = :nonce, wrapped_key = :wrapped_key"
                " WHERE tenant_id = :tenant AND kek_id = :old_id AND wrapped_key = :old_key"
            ),
            {
                "tenant": tenant_id,
                "kek_id": new.kek_id,
                "nonce": new.nonce,
                "wrapped_key": new.wrapped_key,
                "old_id": old.kek_id,
                "old_key": old.wrapped_key,
            },
        ).rowcount
        == 1
    )


def delete_all(connection: Connection, tenant_id: UUID) -> dict[str, int]:
    """Remove all secrets of the tenant; return their names with their versions."""
    rows = connection.execute(
        text("DELETE FROM secrets WHERE tenant_id = :tenant RETURNING name, version"), {"tenant": tenant_id}
    )
    return {row.name: row.version for row in rows}


def lock(connection: Connection, tenant_id: UUID, name: str) -> SecretName | None:
    """Return the secret's row, locked."""
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM secrets WHERE tenant_id = :tenant AND name = :name FOR UPDATE"),  # noqa: S608 - constants
        {"tenant": tenant_id, "name": name},
    ).first()
    return _name(row) if row else None


def put(
    connection: Connection, tenant_id: UUID, name: str, sealed: SealedSecret, user_id: UUID | None
) -> SecretName:
    """Set the secret; a later version replaces the earlier one for good."""
    row = connection.execute(
        text(
            "INSERT INTO secrets (tenant_id, name, nonce, ciphertext, created_by)"
            " VALUES (:tenant, :name, :nonce, :ciphertext, :user)"
            " ON CONFLICT (tenant_id, name) DO UPDATE"
            "  SET nonce = excluded.nonce, ciphertext = excluded.ciphertext,"
            "  version = secrets.version + 1, updated_at = clock_timestamp()"
            " RETURNING name, version, created_at, updated_at"
        ),
        {
            "tenant": tenant_id,
            "name": name,
            "nonce": sealed.nonce,
            "ciphertext": sealed.ciphertext,
            "user": user_id,
        },
    ).one()
    return _name(row)


def delete(connection: Connection, tenant_id: UUID, name: str) -> None:
    """Remove the secret."""
    connection.execute(
        text("DELETE FROM secrets WHERE tenant_id = :tenant AND name = :name"),
        {"tenant": tenant_id, "name": name},
    )


def page(connection: Connection, tenant_id: UUID, wanted: PageRequest) -> Page[SecretName]:
    """Return the secrets by name."""
    after = decode_cursor(wanted.after)[0] if wanted.after is not None else ""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM secrets WHERE tenant_id = :tenant AND name > :after"  # noqa: S608 - constants
            " ORDER BY name LIMIT :limit"
        ),
        {"tenant": tenant_id, "after": after, "limit": wanted.limit + 1},
    ).all()
    found = tuple(_name(row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1].name) if len(rows) > wanted.limit else None)


def sealed(connection: Connection, tenant_id: UUID, names: Sequence[str]) -> Mapping[str, SealedSecret]:
    """Return the ciphertexts of the named secrets; a name that does not exist is left out."""
    rows = connection.execute(
        text("SELECT name, nonce, ciphertext FROM secrets WHERE tenant_id = :tenant AND name = ANY(:names)"),
        {"tenant": tenant_id, "names": list(names)},
    )
    return {row.name: SealedSecret(bytes(row.nonce), bytes(row.ciphertext)) for row in rows}


def _name(row: Row[Any]) -> SecretName:
    return SecretName(row.name, row.version, row.created_at, row.updated_at)
