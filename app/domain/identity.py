"""Who acts, in which roles, with which permissions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

PLATFORM_SLUG: Final = "platform"
"""The tenant whose administrators see the tenants; there is one, made first."""

PERMISSIONS: Final = frozenset(
    {
        "tenants:read",
        "tenants:write",
        "limits:read",
        "limits:write",
        "flags:read",
        "flags:write",
        "platform:read",
        "platform:write",
        "users:read",
        "users:write",
        "modules:read",
        "modules:write",
        "intent_types:read",
        "intents:read",
        "intents:write",
        "workflows:read",
        "workflows:write",
        "runs:read",
        "runs:repair",
        "runs:signal",
        "events:read",
        "audit:read",
        "secrets:read",
        "secrets:write",
        "schedules:read",
        "schedules:write",
        "webhooks:read",
        "webhooks:write",
        "triggers:read",
        "triggers:write",
    }
)

_VIEW: Final = frozenset(
    {
        "modules:read",
        "intent_types:read",
        "intents:read",
        "workflows:read",
        "runs:read",
        "events:read",
        "schedules:read",
        "webhooks:read",
        "triggers:read",
    }
)
_OPERATE: Final = _VIEW | {"runs:repair", "runs:signal"}
_DEVELOP: Final = _OPERATE | {
    "intents:write",
    "workflows:write",
    "modules:write",
    "secrets:read",
    "schedules:write",
    "webhooks:write",
    "triggers:write",
}

ROLE_PERMISSIONS: Final[Mapping[str, frozenset[str]]] = {
    "platform_admin": frozenset(
        {
            "tenants:read",
            "tenants:write",
            "limits:read",
            "limits:write",
            "flags:read",
            "flags:write",
            "platform:read",
            "platform:write",
        }
    ),
    "tenant_admin": _DEVELOP | {"limits:read", "users:read", "users:write", "secrets:write", "audit:read"},
    "operator": _OPERATE,
    "developer": _DEVELOP,
    "viewer": _VIEW,
    "auditor": _VIEW | {"audit:read", "users:read"},
}
"""The fixed table behind `authorize`: what each role may do inside its own tenant."""

ROLES: Final = tuple(ROLE_PERMISSIONS)
PLATFORM_ROLES: Final = frozenset({"platform_admin"})
"""Roles that only users of the platform tenant may hold."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An authenticated caller and the request it made; `user_id` is None for the platform itself.

    `via` names what acts in the caller's name long after the request, such as a bulk action.
    """

    tenant_id: UUID
    tenant_slug: str
    user_id: UUID | None
    email: str
    roles: frozenset[str]
    request_id: str
    source_ip: str | None = None
    via: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what events, audit records and SQL functions keep of the caller."""
        return {
            **({"via": self.via} if self.via else {}),
            "user_id": str(self.user_id) if self.user_id else None,
            "email": self.email,
            "request_id": self.request_id,
            "source_ip": self.source_ip,
        }


def is_allowed(actor: Actor, permission: str) -> bool:
    """Tell whether one of the actor's roles grants `permission`; roles unknown to the table grant nothing.

    The tenants themselves answer to platform administrators of the platform tenant only.
    """
    roles = actor.roles if actor.tenant_slug == PLATFORM_SLUG else actor.roles - PLATFORM_ROLES
    return any(permission in ROLE_PERMISSIONS.get(role, frozenset()) for role in roles)
