"""Tenants, for the platform's administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from app.api.etags import etag_of, expected_version
from app.api.idempotency import answer_once, rendered
from app.api.paging import PageArgs, page_document, page_request
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.identity import NewTenantSchema, TenantPatchSchema, TenantSchema
from app.services import manage_tenants as service

blueprint = Blueprint("tenants", "Isolated customers of the platform.")


@endpoint(
    blueprint,
    "POST /tenants",
    "tenants:write",
    TenantSchema,
    status=201,
    body=NewTenantSchema,
    creates=True,
    tagged=True,
)
def create_tenant(body: dict[str, Any]) -> Response:
    """Create a tenant with its first administrator."""
    admin = body["admin"]
    wanted = service.NewTenant(
        body["slug"], body["name"], admin["email"], admin["password"], admin.get("display_name")
    )
    return answer_once(
        lambda receipt: service.create_tenant(parts().platform, actor(), wanted, receipt),
        lambda made: rendered(
            201,
            TenantSchema(),
            made,
            {"Location": f"{PREFIX}/tenants/{made.id}", "ETag": etag_of(made.version)},
        ),
    )


@endpoint(blueprint, "GET /tenants", "tenants:read", page_of(TenantSchema), query=PageArgs)
def list_tenants(query: dict[str, Any]) -> dict[str, Any]:
    """List the tenants by slug."""
    wanted = page_request("tenants", query)
    return page_document("tenants", service.list_tenants(parts().platform, wanted))


@endpoint(blueprint, "GET /tenants/<uuid:tenant_id>", "tenants:read", TenantSchema, tagged=True)
def show_tenant(tenant_id: UUID) -> Any:
    """Show a tenant."""
    found = service.show_tenant(parts().platform, tenant_id)
    return found, {"ETag": etag_of(found.version)}


@endpoint(
    blueprint,
    "PATCH /tenants/<uuid:tenant_id>",
    "tenants:write",
    TenantSchema,
    body=TenantPatchSchema,
    changes=True,
)
def change_tenant(body: dict[str, Any], tenant_id: UUID) -> Any:
    """Change a tenant's name, state or settings."""
    changed = service.change_tenant(parts().platform, actor(), tenant_id, expected_version(), body)
    return changed, {"ETag": etag_of(changed.version)}
