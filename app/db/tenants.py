"""Tenants."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor


@dataclass(frozen=True, slots=True)
class Tenant:
    """An isolated customer; `state` is active or suspended."""

    id: UUID
    slug: str
    name: str
    state: str
    settings: Mapping[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TenantRef:
    """What is known of a tenant before anybody has signed in."""

    id: UUID
    name: str
    state: str


_COLUMNS: Final = "id, slug, name, state, settings, version, created_at, updated_at"


def resolve(connection: Connection, slug: str) -> TenantRef | None:
    """Return the tenant that a slug names; works without a tenant in the session."""
    row = connection.execute(text("SELECT * FROM resolve_tenant(:slug)"), {"slug": slug}).first()
    return TenantRef(row.id, row.name, row.state) if row else None


def find(connection: Connection, tenant_id: UUID, *, lock: bool = False) -> Tenant | None:
    """Return the tenant, its row locked when asked for."""
    query = f"SELECT {_COLUMNS} FROM tenants WHERE id = :id" + (" FOR UPDATE" if lock else "")  # noqa: S608 - constants
    row = connection.execute(text(query), {"id": tenant_id}).first()
    return _tenant(row) if row else None


def page(connection: Connection, wanted: PageRequest) -> Page[Tenant]:
    """Return the tenants by slug."""
    after = decode_cursor(wanted.after)[0] if wanted.after is not None else ""
    rows = connection.execute(
        text(f"SELECT {_COLUMNS} FROM tenants WHERE slug > :after ORDER BY slug LIMIT :limit"),  # noqa: S608 - constants
        {"after": after, "limit": wanted.limit + 1},
    ).all()
    found = tuple(_tenant(row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1].slug) if len(rows) > wanted.limit else None)


def insert(connection: Connection, tenant_id: UUID, slug: str, name: str) -> None:
    """Add a tenant; raises Conflict when the slug is taken."""
    try:
        connection.execute(
            text("INSERT INTO tenants (id, slug, name) VALUES (:id, :slug, :name)"),
            {"id": tenant_id, "slug": slug, "name": name},
        )
    except IntegrityError as taken:
        raise Conflict(f"a tenant with the slug {slug} exists", "slug_taken") from taken


def update(
    connection: Connection, tenant_id: UUID, name: str, state: str, settings: Mapping[str, Any]
) -> None:
    """Set what may change, then count the version up."""
    connection.execute(
        text(
            "UPDATE tenants SET name = :name, state = :state, settings = CAST(:settings AS jsonb),"
            " version = version + 1, updated_at = clock_timestamp() WHERE id = :id"
        ),
        {"id": tenant_id, "name": name, "state": state, "settings": json.dumps(dict(settings))},
    )


def _tenant(row: Row[Any]) -> Tenant:
    return Tenant(
        row.id, row.slug, row.name, row.state, row.settings, row.version, row.created_at, row.updated_at
    )
