"""Workflow definitions: registered once, immutable from then on."""

from __future__ import annotations

import json
from typing import Any

from flask import Response

from app.api.bodies import read_document
from app.api.etags import NEVER_CHANGES
from app.api.idempotency import answer_once, rendered
from app.api.paging import page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.catalogue import WorkflowArgs, WorkflowSchema, WorkflowSummarySchema
from app.api.schemas.common import page_of
from app.services import manage_workflows as service
from workflows.parsing import definition_schema

blueprint = Blueprint("workflows", "Named, versioned, immutable graph templates.")


def definition_components() -> dict[str, Any]:
    """Return the definition's JSON Schema as components of the document, which its references must name."""
    text = json.dumps(definition_schema()).replace("#/$defs/", "#/components/schemas/Definition_")
    schema = json.loads(text)
    parts = {f"Definition_{name}": part for name, part in schema.pop("$defs", {}).items()}
    return {
        "Definition": {key: value for key, value in schema.items() if key not in ("$schema", "$id")},
        **parts,
    }


_DEFINITION = {"schema": {"$ref": "#/components/schemas/Definition"}}
_BODY = {"required": True, "content": {"application/json": _DEFINITION, "application/yaml": _DEFINITION}}


@endpoint(
    blueprint,
    "POST /workflows",
    "workflows:write",
    WorkflowSchema,
    status=201,
    document=_BODY,
    creates=True,
)
def register_workflow() -> Response:
    """Register a definition; it is refused with the place of each fault in its graph or expressions."""
    document = read_document()
    return answer_once(
        lambda receipt: service.register_workflow(
            parts().installed, parts().database, actor(), document, receipt
        ),
        lambda made: rendered(
            201,
            WorkflowSchema(),
            made,
            {"Location": f"{PREFIX}/workflows/{made['name']}/versions/{made['version']}"},
        ),
    )


@endpoint(blueprint, "GET /workflows", "workflows:read", page_of(WorkflowSummarySchema), query=WorkflowArgs)
def list_workflows(query: dict[str, Any]) -> dict[str, Any]:
    """List the definitions by name, each version."""
    wanted = page_request("workflows", query)
    return page_document(
        "workflows",
        service.list_workflows(parts().installed, source(), actor(), wanted, query.get("name")),
    )


@endpoint(blueprint, "GET /workflows/<dotted:name>", "workflows:read", WorkflowSchema)
def show_workflow(name: str) -> Any:
    """Show the newest version of a definition."""
    return service.show_workflow(parts().installed, source(), actor(), name, None)


@endpoint(
    blueprint,
    "GET /workflows/<dotted:name>/versions/<version:version>",
    "workflows:read",
    WorkflowSchema,
    caching=NEVER_CHANGES,
)
def show_workflow_version(name: str, version: int) -> Any:
    """Show one version of a definition."""
    return service.show_workflow(parts().installed, source(), actor(), name, version)
