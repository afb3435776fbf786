"""Dead letters: steps that failed for good, listed, shown with their history, replayed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from app.api.etags import expected_version
from app.api.idempotency import answer_once
from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.runs import steered
from app.api.schemas.common import page_of
from app.api.schemas.runs import DeadLetterDetailSchema, DeadLetterSchema, RunSchema
from app.services import dead_letters

blueprint = Blueprint("dead letters", "Steps that failed for good.")

PATH = "/dead-letters/<uuid:run_id>/<step_key:key>"


@endpoint(blueprint, "GET /dead-letters", "runs:read", page_of(DeadLetterSchema), query=PageArgs)
def list_dead_letters(query: dict[str, Any]) -> dict[str, Any]:
    """List the steps whose attempts are used up or that killed their workers, latest first."""
    wanted = page_request("dead letters", query)
    return page_document("dead letters", dead_letters.list_dead_letters(source(), actor(), wanted))


@endpoint(blueprint, f"GET {PATH}", "runs:read", DeadLetterDetailSchema)
def show_dead_letter(run_id: UUID, key: str) -> Any:
    """Show a dead letter with its input, the error of every attempt."""
    return dead_letters.show_dead_letter(source(), actor(), run_id, key)


@endpoint(blueprint, f"POST {PATH}:replay", "runs:repair", RunSchema, status=202, creates=True, errors=(412,))
def replay_dead_letter(run_id: UUID, key: str) -> Response:
    """Retry the run from this step alone; its other dead letters stay parked."""
    version = expected_version(required=False)
    return answer_once(
        lambda receipt: dead_letters.replay_dead_letter(
            parts().submit, actor(), run_id, key, version, receipt=receipt
        ),
        steered,
    )
