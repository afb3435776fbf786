"""The platform administrator's work on tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.db import tenants, trail, users
from app.db.engine import Database
from app.db.ids import new_id
from app.db.tenants import Tenant
from app.db.trail import Mark
from app.domain.errors import InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import PLATFORM_SLUG, Actor
from app.domain.paging import Page, PageRequest
from app.security.passwords import hash_password
from app.services.receipts import NO_RECEIPT, Receipt

FIRST_ROLES: Final = ("tenant_admin",)
PLATFORM_FIRST_ROLES: Final = ("platform_admin", "tenant_admin")


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A tenant to create, with its first administrator."""

    slug: str
    name: str
    admin_email: str
    admin_password: str = field(repr=False)
    admin_name: str | None = None


def create_tenant(
    platform: Database, actor: Actor, wanted: NewTenant, receipt: Receipt = NO_RECEIPT
) -> Tenant:
    """Create the tenant with its administrator in one commit; raises Conflict when the slug is taken."""
    if wanted.slug == PLATFORM_SLUG:
        raise InvalidInput.at("/slug", "reserved", f"{PLATFORM_SLUG} is the platform's own tenant")
    return _create(platform, actor, wanted, FIRST_ROLES, receipt)


def create_platform_tenant(platform: Database, name: str, email: str, password: str) -> Tenant:
    """Create the first tenant of an installation, whose administrator makes the others.

    For the operator's shell, over the system role's database; raises Conflict when it exists.
    """
    wanted = NewTenant(PLATFORM_SLUG, name, email, password)
    nobody = Actor(UUID(int=0), PLATFORM_SLUG, None, "operator's shell", frozenset(), "shell")
    return _create(platform, nobody, wanted, PLATFORM_FIRST_ROLES, NO_RECEIPT)


def list_tenants(platform: Database, wanted: PageRequest) -> Page[Tenant]:
    """Return the tenants by slug."""
    with platform.system() as connection:
        return tenants.page(connection, wanted)


def show_tenant(platform: Database, tenant_id: UUID) -> Tenant:
    """Return the tenant; raises NotFound."""
    with platform.system() as connection:
        return _found(tenants.find(connection, tenant_id))


def change_tenant(
    platform: Database, actor: Actor, tenant_id: UUID, version: int | None, changes: Mapping[str, Any]
) -> Tenant:
    """Change name, state or settings; raises NotFound, PreconditionFailed, or InvalidInput.

    From the commit on nothing of a suspended tenant is claimed, sent, admitted or fired; what runs may end.
    The platform's own tenant cannot be suspended: nobody could open it again.
    """
    with platform.system() as connection:
        present = _found(tenants.find(connection, tenant_id, lock=True))
        if version is not None and version != present.version:
            raise PreconditionFailed(f"the tenant is at version {present.version}")
        if present.slug == PLATFORM_SLUG and changes.get("state", "active") != "active":
            raise InvalidInput.at("/state", "reserved", "the platform's own tenant cannot be suspended")
        tenants.update(
            connection,
            tenant_id,
            changes.get("name", present.name),
            changes.get("state", present.state),
            changes.get("settings", present.settings),
        )
        mark = Mark("tenant.change", f"tenants/{tenant_id}", "tenant.changed", {"changed": sorted(changes)})
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
        changed = _found(tenants.find(connection, tenant_id))
        if changed.state != present.state:
            event = "tenant.suspended" if changed.state == "suspended" else "tenant.resumed"
            told = Mark(event, f"tenants/{tenant_id}", event, {"state": changed.state})
            trail.leave(connection, tenant_id, actor.as_json(), told)
        return changed


def _create(
    platform: Database, actor: Actor, wanted: NewTenant, roles: tuple[str, ...], receipt: Receipt
) -> Tenant:
    tenant_id, user_id = new_id(), new_id()
    password_hash = hash_password(wanted.admin_password)
    with platform.system() as connection:
        receipt.open(connection)
        tenants.insert(connection, tenant_id, wanted.slug, wanted.name)
        users.insert(
            connection, tenant_id, user_id, wanted.admin_email, password_hash, wanted.admin_name or ""
        )
        users.add_roles(connection, tenant_id, user_id, roles)
        detail = {"slug": wanted.slug, "name": wanted.name}
        mark = Mark("tenant.create", f"tenants/{tenant_id}", "tenant.created", detail)
        trail.leave(connection, tenant_id, actor.as_json(), mark)
        if actor.user_id is not None:
            audited = Mark("tenant.create", f"tenants/{tenant_id}", detail=detail)
            trail.leave(connection, actor.tenant_id, actor.as_json(), audited)
        made = _found(tenants.find(connection, tenant_id))
        receipt.close(connection, made)
    return made


def _found(tenant: Tenant | None) -> Tenant:
    if tenant is None:
        raise NotFound("no such tenant")
    return tenant
