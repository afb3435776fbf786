"""Who acts: the actor, the six roles, the permissions each role has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

READ_WORK = frozenset(
    {
        "module:read",
        "intent_type:read",
        "workflow:read",
        "intent:read",
        "run:read",
        "event:read",
    }
)
_DEVELOP = READ_WORK | {
    "intent:create",
    "run:retry",
    "run:cancel",
    "workflow:register",
    "module:register",
    "secret:read",
}
_OPERATE = READ_WORK | {"intent:create", "run:retry", "run:cancel", "secret:read", "worker:read"}
_ADMINISTER = _DEVELOP | _OPERATE | {"secret:write", "user:read", "user:write", "audit:read", "tenant:read"}

PERMISSIONS: dict[str, frozenset[str]] = {
    "platform_admin": frozenset(_ADMINISTER | {"tenants:read", "tenants:write"}),
    "tenant_admin": frozenset(_ADMINISTER),
    "operator": frozenset(_OPERATE),
    "developer": frozenset(_DEVELOP),
    "viewer": READ_WORK,
    "auditor": READ_WORK | {"audit:read", "user:read", "tenant:read"},
}
ROLES: tuple[str, ...] = tuple(PERMISSIONS)
ALL_PERMISSIONS: frozenset[str] = frozenset().union(*PERMISSIONS.values())


@dataclass(frozen=True, slots=True)
class Actor:
    """The authenticated caller of one request."""

    tenant_id: UUID
    user_id: UUID | None
    email: str
    roles: tuple[str, ...]
    request_id: str = ""
    source_ip: str | None = None

    def as_json(self) -> dict[str, Any]:
        """What events and audit records keep of the actor."""
        return {
            "user_id": str(self.user_id) if self.user_id else None,
            "email": self.email,
            "request_id": self.request_id,
            "source_ip": self.source_ip,
        }

    def may(self, permission: str) -> bool:
        """Whether one of the roles grants the permission."""
        return permits(self.roles, permission)


def permits(roles: Iterable[str], permission: str) -> bool:
    """Whether one of the roles grants the permission; ValueError for a permission nobody defined."""
    if permission not in ALL_PERMISSIONS:
        raise ValueError(f"unknown permission {permission!r}")
    return any(permission in PERMISSIONS.get(role, frozenset()) for role in roles)
