"""Pools dedicated to one tenant."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from app.api.paging import PageArgs, page_document, page_request
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.limits import DedicatedPoolSchema
from app.services import manage_pools as service

blueprint = Blueprint("pools", "Pools of workers that belong to one tenant.")

ONE = "/tenants/<uuid:tenant_id>/pools/<pool_name:pool>"


@endpoint(blueprint, "GET /pools", "limits:read", page_of(DedicatedPoolSchema), query=PageArgs)
def list_pools(query: dict[str, Any]) -> dict[str, Any]:
    """List the dedicated pools by name: the tenant's own; all of them to a platform administrator."""
    wanted = page_request("pools", query)
    return page_document("pools", service.list_pools(parts().platform, actor(), wanted))


@endpoint(blueprint, f"PUT {ONE}", "limits:write", DedicatedPoolSchema, errors=(409, 422))
def dedicate_pool(tenant_id: UUID, pool: str) -> Any:
    """Give a pool to the tenant: what others register or submit may no longer name it."""
    return service.dedicate_pool(parts().platform, actor(), tenant_id, pool)


@endpoint(blueprint, f"DELETE {ONE}", "limits:write", None, status=204)
def release_pool(tenant_id: UUID, pool: str) -> Response:
    """Let everybody use the pool again."""
    service.release_pool(parts().platform, actor(), tenant_id, pool)
    return Response(status=204)
