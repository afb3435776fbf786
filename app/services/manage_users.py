"""The tenant administrator's work on users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import caps, sessions, trail, users
from app.db.engine import Connection, Database
from app.db.ids import new_id
from app.db.trail import Mark
from app.db.users import User
from app.domain.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import PLATFORM_ROLES, PLATFORM_SLUG, Actor
from app.domain.paging import Page, PageRequest
from app.security.passwords import hash_password
from app.services.receipts import NO_RECEIPT, Receipt

LAST_ONE = "tenant_admin"


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to create."""

    email: str
    password: str = field(repr=False)
    display_name: str | None
    roles: frozenset[str]


def create_user(database: Database, actor: Actor, wanted: NewUser, receipt: Receipt = NO_RECEIPT) -> User:
    """Create a user of the actor's tenant; raises Conflict when the address is taken, CapReached."""
    _grantable(actor, wanted.roles)
    password_hash, user_id = hash_password(wanted.password), new_id()
    with database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        with caps.room(connection, actor.tenant_id, "users"):
            users.insert(
                connection, actor.tenant_id, user_id, wanted.email, password_hash, wanted.display_name or ""
            )
        users.set_roles(connection, actor.tenant_id, user_id, wanted.roles)
        detail = {"email": wanted.email.lower(), "roles": sorted(wanted.roles)}
        mark = Mark("user.create", f"users/{user_id}", "user.created", detail)
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
        made = _found(users.find(connection, actor.tenant_id, user_id))
        receipt.close(connection, made)
    return made


def list_users(database: Database, actor: Actor, wanted: PageRequest, state: str | None) -> Page[User]:
    """Return the tenant's users, latest first."""
    with database.tenant(actor.tenant_id) as connection:
        return users.page(connection, actor.tenant_id, wanted, state)


def show_user(database: Database, actor: Actor, user_id: UUID) -> User:
    """Return the user; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        return _found(users.find(connection, actor.tenant_id, user_id))


def change_user(
    database: Database, actor: Actor, user_id: UUID, version: int | None, changes: Mapping[str, Any]
) -> User:
    """Change a user; a new password or a closed account ends its sessions.

    Raises NotFound, PreconditionFailed, InvalidInput, or Conflict when the tenant would lose its last
    administrator.
    """
    roles = frozenset(changes["roles"]) if "roles" in changes else None
    _grantable(actor, roles or frozenset())
    columns = {name: changes[name] for name in ("display_name", "state") if name in changes}
    if "password" in changes:
        columns["password_hash"] = hash_password(changes["password"])
    with database.tenant(actor.tenant_id) as connection:
        present = _found(users.find(connection, actor.tenant_id, user_id, lock=True))
        if version is not None and version != present.version:
            raise PreconditionFailed(f"the user is at version {present.version}")
        _keep_an_admin(connection, actor.tenant_id, present, roles, changes.get("state", present.state))
        users.update(connection, actor.tenant_id, user_id, columns)
        if roles is not None:
            users.set_roles(connection, actor.tenant_id, user_id, roles)
        if "password" in changes or changes.get("state") == "disabled":
            sessions.revoke_families_of(connection, actor.tenant_id, user_id)
        detail: dict[str, Any] = {"changed": sorted(changes)}
        if roles is not None:
            detail["roles"] = sorted(roles)
        mark = Mark("user.change", f"users/{user_id}", "user.changed", detail)
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
        return _found(users.find(connection, actor.tenant_id, user_id))


def _grantable(actor: Actor, roles: frozenset[str]) -> None:
    """Raise InvalidInput for a role of the platform outside of the platform's tenant."""
    if actor.tenant_slug != PLATFORM_SLUG and roles & PLATFORM_ROLES:
        raise InvalidInput.at(
            "/roles", "not_grantable", "platform_admin exists in the platform's tenant only"
        )


def _keep_an_admin(
    connection: Connection, tenant_id: UUID, present: User, roles: frozenset[str] | None, state: str
) -> None:
    """Raise Conflict when the change would leave the tenant without an administrator who can sign in."""
    stays = state == "active" and LAST_ONE in (present.roles if roles is None else roles)
    if LAST_ONE not in present.roles or present.state != "active" or stays:
        return
    if users.others_with_role(connection, tenant_id, present.id, LAST_ONE) == 0:
        raise Conflict("this is the tenant's last administrator", "last_admin")


def _found(user: User | None) -> User:
    if user is None:
        raise NotFound("no such user")
    return user
