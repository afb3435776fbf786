"""Intent types: what may be declared, with the JSON Schema of each spec."""

from __future__ import annotations

from typing import Any

from app.api.etags import NEVER_CHANGES
from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.catalogue import IntentTypeSchema
from app.api.schemas.common import page_of
from app.services import manage_modules as service

blueprint = Blueprint("intent_types", "What may be declared.")


@endpoint(blueprint, "GET /intent_types", "intent_types:read", page_of(IntentTypeSchema), query=PageArgs)
def list_intent_types(query: dict[str, Any]) -> dict[str, Any]:
    """List the intent types by name, the newest version of each."""
    wanted = page_request("intent_types", query)
    return page_document(
        "intent_types", service.list_intent_types(parts().installed, source(), actor(), wanted)
    )


@endpoint(blueprint, "GET /intent_types/<dotted:name>", "intent_types:read", IntentTypeSchema)
def show_intent_type(name: str) -> Any:
    """Show the newest version of an intent type."""
    return service.show_intent_type(parts().installed, source(), actor(), name, None)


@endpoint(
    blueprint,
    "GET /intent_types/<dotted:name>/versions/<version:version>",
    "intent_types:read",
    IntentTypeSchema,
    caching=NEVER_CHANGES,
)
def show_intent_type_version(name: str, version: int) -> Any:
    """Show one version of an intent type."""
    return service.show_intent_type(parts().installed, source(), actor(), name, version)
