"""Modules: the installed ones, those that the tenant registered."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api.idempotency import answer_once, rendered
from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.catalogue import ModuleManifestSchema, ModuleSchema
from app.api.schemas.common import page_of
from app.services import manage_modules as service

blueprint = Blueprint("modules", "Registered components with their operations, intent types, workflows.")


@endpoint(
    blueprint,
    "POST /modules",
    "modules:write",
    ModuleSchema,
    status=201,
    body=ModuleManifestSchema,
    creates=True,
)
def register_module(body: dict[str, Any]) -> Response:
    """Register a manifest: its workflows with its intent types, all or none."""
    return answer_once(
        lambda receipt: service.register_module(parts().installed, parts().database, actor(), body, receipt),
        lambda made: rendered(201, ModuleSchema(), made, {"Location": f"{PREFIX}/modules/{made['name']}"}),
    )


@endpoint(blueprint, "GET /modules", "modules:read", page_of(ModuleSchema), query=PageArgs)
def list_modules(query: dict[str, Any]) -> dict[str, Any]:
    """List the modules by name, the newest version of each."""
    wanted = page_request("modules", query)
    return page_document("modules", service.list_modules(parts().installed, source(), actor(), wanted))


@endpoint(blueprint, "GET /modules/<dotted:name>", "modules:read", ModuleSchema)
def show_module(name: str) -> Any:
    """Show the newest version of a module."""
    return service.show_module(parts().installed, source(), actor(), name)
