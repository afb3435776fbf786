"""Usage of a tenant, of all tenants."""

from __future__ import annotations

from typing import Any

from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.usage import LatenciesSchema, LatencyArgs, SpanArgs, TopUsageSchema, UsageSchema
from app.services import usage as service
from app.services.usage import Span

blueprint = Blueprint("usage", "What was used, how long runs took.")


@endpoint(blueprint, "GET /usage", "runs:read", UsageSchema, query=SpanArgs)
def show_usage(query: dict[str, Any]) -> dict[str, Any]:
    """Show what the tenant used, day by day; some seconds behind what happens."""
    return {"items": service.show_usage(source(), actor(), Span(query["first"], query["last"]))}


@endpoint(blueprint, "GET /usage/latencies", "runs:read", LatenciesSchema, query=LatencyArgs)
def show_latencies(query: dict[str, Any]) -> Any:
    """Show how long the tenant's runs waited, or took."""
    span = Span(query["first"], query["last"])
    return service.show_latencies(source(), actor(), span, query["measure"])


@endpoint(blueprint, "GET /platform/usage", "tenants:read", TopUsageSchema, query=SpanArgs)
def show_top_usage(query: dict[str, Any]) -> dict[str, Any]:
    """Show which tenants used most."""
    return {"items": service.show_top(parts().platform, Span(query["first"], query["last"]))}
