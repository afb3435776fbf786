"""The timeline of a run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor
from app.api.routes import Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.timeline import TransitionSchema
from app.services.run_timeline import list_timeline as timeline_of

blueprint = Blueprint("timeline", "What happened to a run.")


@endpoint(
    blueprint, "GET /runs/<uuid:run_id>/timeline", "runs:read", page_of(TransitionSchema), query=PageArgs
)
def list_timeline(query: dict[str, Any], run_id: UUID) -> dict[str, Any]:
    """List every transition of a run, the first first: its events, its attempts, its audit records."""
    name = f"timeline {run_id}"
    wanted = page_request(name, query)
    return page_document(name, timeline_of(source(), actor(), run_id, wanted))
