"""The one port through which every use case asks whether its caller may."""

from __future__ import annotations

from app.domain.errors import Forbidden
from app.domain.identity import PERMISSIONS, Actor, is_allowed


def authorize(actor: Actor, permission: str) -> None:
    """Return when `actor` holds `permission`; raises Forbidden, or LookupError for an unknown permission."""
    if permission not in PERMISSIONS:
        raise LookupError(f"no permission is called {permission!r}")
    if not is_allowed(actor, permission):
        raise Forbidden(f"this needs the permission {permission}")
