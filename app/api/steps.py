"""Steps of a run: listed page by page, shown with every attempt."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.api.paging import page_document, page_request
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.runs import StepArgs, StepDetailSchema, StepSchema
from app.services import browse

blueprint = Blueprint("steps", "Nodes of a run.")


@endpoint(blueprint, "GET /runs/<uuid:run_id>/steps", "runs:read", page_of(StepSchema), query=StepArgs)
def list_steps(query: dict[str, Any], run_id: UUID) -> dict[str, Any]:
    """List the steps of a run in the order of its plan, items of a fan behind it."""
    wanted = page_request(f"steps {run_id}", query)
    return page_document(
        f"steps {run_id}", browse.list_steps(parts().database, actor(), run_id, wanted, **query)
    )


@endpoint(blueprint, "GET /runs/<uuid:run_id>/steps/<step_key:key>", "runs:read", StepDetailSchema)
def show_step(run_id: UUID, key: str) -> Any:
    """Show a step with its input, output, errors, attempts."""
    return browse.show_step(parts().database, actor(), run_id, key)
