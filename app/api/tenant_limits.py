"""The share of a tenant with its limits."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.api.etags import etag_of, expected_version
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.limits import LimitsSchema, NewLimitsSchema
from app.db.limits import Limits
from app.services import manage_limits as service

blueprint = Blueprint(
    "limits", "What a tenant may have at once, what it may keep; its share of what is scarce."
)


@endpoint(blueprint, "GET /tenants/<uuid:tenant_id>/limits", "limits:read", LimitsSchema, tagged=True)
def show_limits(tenant_id: UUID) -> Any:
    """Show a tenant's share with its limits."""
    found = service.show_limits(parts().platform, parts().database, actor(), tenant_id)
    return found, {"ETag": etag_of(found.version)}


@endpoint(
    blueprint,
    "PUT /tenants/<uuid:tenant_id>/limits",
    "limits:write",
    LimitsSchema,
    body=NewLimitsSchema,
    changes=True,
)
def change_limits(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Set a tenant's share and limits; what is left out is as usual: weight 1, unlimited, the usual caps."""
    given, wanted = parts(), Limits(**body)
    changed = service.change_limits(
        given.platform, given.database, actor(), tenant_id, expected_version(), wanted
    )
    return changed, {"ETag": etag_of(changed.version)}
