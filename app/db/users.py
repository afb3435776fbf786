"""Users with their roles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, text
from sqlalchemy.exc import IntegrityError

from app.domain.errors import Conflict
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

CHANGEABLE: Final = ("display_name", "state", "password_hash")


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored; `display_name` may be empty."""

    id: UUID
    email: str
    password_hash: str = field(repr=False)
    display_name: str
    state: str
    roles: frozenset[str]
    version: int
    created_at: datetime
    updated_at: datetime


_SELECT: Final = """
    SELECT u.id, u.email, u.password_hash, u.display_name, u.state, u.version, u.created_at, u.updated_at,
           ARRAY(SELECT r.role FROM user_roles r
                  WHERE r.tenant_id = u.tenant_id AND r.user_id = u.id ORDER BY r.role) AS roles
    FROM users u WHERE u.tenant_id = :tenant
"""


def find(connection: Connection, tenant_id: UUID, user_id: UUID, *, lock: bool = False) -> User | None:
    """Return the user, its row locked when asked for."""
    query = _SELECT + " AND u.id = :id" + (" FOR UPDATE OF u" if lock else "")
    return _first(connection.execute(text(query), {"tenant": tenant_id, "id": user_id}).first())


def find_by_email(connection: Connection, tenant_id: UUID, email: str) -> User | None:
    """Return the user with this address, whatever its case."""
    row = connection.execute(
        text(_SELECT + " AND u.email = :email"), {"tenant": tenant_id, "email": email.lower()}
    ).first()
    return _first(row)


def present_roles(
    connection: Connection, tenant_id: UUID, user_id: UUID, session_id: UUID
) -> frozenset[str] | None:
    """Return the roles of an active user of an active tenant in a session of its own that nobody has ended.

    None for anybody else. The time that a session may be kept up is no end of it: its last token has its own.
    """
    row = connection.execute(
        text(
            "SELECT ARRAY(SELECT r.role FROM user_roles r"
            "   WHERE r.tenant_id = u.tenant_id AND r.user_id = u.id) AS roles"
            " FROM users u JOIN tenants t ON t.id = u.tenant_id"
            " JOIN refresh_families f ON f.tenant_id = u.tenant_id AND f.user_id = u.id"
            "   AND left(encode(sha256(convert_to(CAST(f.id AS text), 'UTF8')), 'hex'), 32) = :session"
            " WHERE u.tenant_id = :tenant AND u.id = :id AND u.state = 'active' AND t.state = 'active'"
            " AND f.revoked_at IS NULL"
        ),
        {"tenant": tenant_id, "id": user_id, "session": session_id.hex},
    ).first()
    return frozenset(row.roles) if row else None


def page(connection: Connection, tenant_id: UUID, wanted: PageRequest, state: str | None) -> Page[User]:
    """Return the users, latest first."""
    query, values = _SELECT, {"tenant": tenant_id, "limit": wanted.limit + 1}
    if state is not None:
        query, values = query + " AND u.state = :state", {**values, "state": state}
    if wanted.after is not None:
        query, values = query + " AND u.id < :after", {**values, "after": decode_cursor(wanted.after)[0]}
    rows = connection.execute(text(query + " ORDER BY u.id DESC LIMIT :limit"), values).all()
    found = tuple(_user(row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1].id) if len(rows) > wanted.limit else None)


def insert(
    connection: Connection, tenant_id: UUID, user_id: UUID, email: str, password_hash: str, display_name: str
) -> None:
    """Add a user without roles; raises Conflict when the address is taken."""
    try:
        connection.execute(
            text(
                "INSERT INTO users (tenant_id, id, email, password_hash, display_name)"
                " VALUES (:tenant, :id, :email, :hash, :name)"
            ),
            {
                "tenant": tenant_id,
                "id": user_id,
                "email": email.lower(),
                "hash": password_hash,
                "name": display_name,
            },
        )
    except IntegrityError as taken:
        raise Conflict(f"a user with the address {email.lower()} exists", "email_taken") from taken


def set_roles(connection: Connection, tenant_id: UUID, user_id: UUID, roles: Iterable[str]) -> None:
    """Give the user exactly these roles."""
    values = {"tenant": tenant_id, "id": user_id, "roles": sorted(roles)}
    connection.execute(
        text(
            "DELETE FROM user_roles"
            " WHERE tenant_id = :tenant AND user_id = :id AND role <> ALL(CAST(:roles AS text[]))"
        ),
        values,
    )
    add_roles(connection, tenant_id, user_id, roles)


def add_roles(connection: Connection, tenant_id: UUID, user_id: UUID, roles: Iterable[str]) -> None:
    """Give the user these roles too."""
    connection.execute(
        text(
            "INSERT INTO user_roles (tenant_id, user_id, role)"
            " SELECT :tenant, :id, unnest(CAST(:roles AS text[])) ON CONFLICT DO NOTHING"
        ),
        {"tenant": tenant_id, "id": user_id, "roles": sorted(roles)},
    )


def update(connection: Connection, tenant_id: UUID, user_id: UUID, changes: Mapping[str, Any]) -> None:
    """Set columns of `CHANGEABLE`, then count the version up."""
    columns = [name for name in CHANGEABLE if name in changes]
    # The names come from the constant above, never from a request.
    sets = "".join(f"{name} = :{name}, " for name in columns)
    connection.execute(
        text(
            f"UPDATE users SET {sets}version = version + 1, updated_at = clock_timestamp()"  # noqa: S608 - constants
            " WHERE tenant_id = :tenant AND id = :id"
        ),
        {**{name: changes[name] for name in columns}, "tenant": tenant_id, "id": user_id},
    )


def others_with_role(connection: Connection, tenant_id: UUID, user_id: UUID, role: str) -> int:
    """Return how many other active users hold `role`; their rows are locked until the transaction ends."""
    rows = connection.execute(
        text(
            "SELECT u.id FROM users u JOIN user_roles r ON r.tenant_id = u.tenant_id AND r.user_id = u.id"
            " WHERE u.tenant_id = :tenant AND u.id <> :id AND u.state = 'active' AND r.role = :role"
            " ORDER BY u.id FOR UPDATE OF u"
        ),
        {"tenant": tenant_id, "id": user_id, "role": role},
    )
    return len(rows.all())


def _first(row: Row[Any] | None) -> User | None:
    return _user(row) if row else None


def _user(row: Row[Any]) -> User:
    return User(
        row.id,
        row.email,
        row.password_hash,
        row.display_name,
        row.state,
        frozenset(row.roles),
        row.version,
        row.created_at,
        row.updated_at,
    )
