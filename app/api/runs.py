"""Runs: listed, shown with their graph, retried, cancelled."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request
from marshmallow import ValidationError

from app.api.bodies import read_document
from app.api.etags import etag_of, expected_version
from app.api.idempotency import Rendered, answer_once, rendered
from app.api.paging import page_document, page_request
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.runs import (
    BulkRetryAnswerSchema,
    BulkRetrySchema,
    CancelSchema,
    RunArgs,
    RunDetailSchema,
    RunSchema,
)
from app.api.validation import faults_of
from app.domain.errors import InvalidInput
from app.domain.runs import Run
from app.services import browse
from app.services.cancel_run import cancel_run as cancel
from app.services.retry_run import retry_run as retry
from app.services.retry_runs import retry_runs as retry_many

blueprint = Blueprint("runs", "Executions of plans.")

_RUN = RunSchema()
_CANCEL = CancelSchema()
OPTIONAL_REASON = {
    "required": False,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"reason": {"type": "string", "minLength": 1, "maxLength": 200}},
                "additionalProperties": False,
            }
        }
    },
}


@endpoint(blueprint, "GET /runs", "runs:read", page_of(RunSchema), query=RunArgs)
def list_runs(query: dict[str, Any]) -> dict[str, Any]:
    """List the runs, latest first."""
    wanted = page_request("runs", query)
    return page_document("runs", browse.list_runs(parts().database, actor(), wanted, **query))


@endpoint(blueprint, "GET /runs/<uuid:run_id>", "runs:read", RunDetailSchema, tagged=True)
def show_run(run_id: UUID) -> Any:
    """Show a run with its graph and its first 1,000 steps."""
    found = browse.show_run(parts().database, actor(), run_id)
    return found, {"ETag": etag_of(found["version"])}


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:retry",
    "runs:repair",
    RunSchema,
    status=202,
    creates=True,
    errors=(412,),
)
def retry_run(run_id: UUID) -> Response:
    """Run again what failed or never ran; finished steps keep their results."""
    version = expected_version(required=False)
    return answer_once(
        lambda receipt: retry(parts().submit, actor(), run_id, version, receipt=receipt), _repaired
    )


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:cancel",
    "runs:repair",
    RunSchema,
    status=202,
    document=OPTIONAL_REASON,
    creates=True,
    errors=(412,),
)
def cancel_run(run_id: UUID) -> Response:
    """Cancel a run: running steps are stopped, the others never start."""
    version = expected_version(required=False)
    reason = _reason()
    return answer_once(
        lambda receipt: cancel(parts().submit, actor(), run_id, version, reason, receipt=receipt), _repaired
    )


@endpoint(blueprint, "POST /runs:retry", "runs:repair", BulkRetryAnswerSchema, body=BulkRetrySchema)
def retry_runs(body: dict[str, Any]) -> dict[str, Any]:
    """Retry the runs that a filter matches; with `dry_run` only count them."""
    return retry_many(parts().submit, actor(), body["filter"], body["limit"], dry_run=body["dry_run"])


def _reason() -> str | None:
    """Return the reason in the body, which may be absent."""
    if not request.get_data(cache=True):
        return None
    try:
        reason: str | None = _CANCEL.load(read_document()).get("reason")
    except ValidationError as wrong:
        raise InvalidInput(tuple(faults_of(wrong.normalized_messages()))) from wrong
    return reason


def _repaired(run: Run) -> Rendered:
    headers = {"Location": f"{PREFIX}/runs/{run.id}", "ETag": etag_of(run.version)}
    return rendered(202, _RUN, run, headers)
