"""Steps of a run: listed page by page, shown with every attempt, with what they logged, skipped."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response, request

from app.api.etags import ASK_EACH_TIME, NEVER_CHANGES, cacheable, expected_version, unchanged
from app.api.idempotency import answer_once
from app.api.paging import page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.runs import steered
from app.api.schemas.common import page_of
from app.api.schemas.runs import (
    LogArgs,
    RunSchema,
    SkipSchema,
    StepArgs,
    StepDetailSchema,
    StepLogSchema,
    StepSchema,
)
from app.services import browse
from app.services import read_output as outputs
from app.services.read_step_log import read_step_log
from app.services.skip_step import skip_step as skip

blueprint = Blueprint("steps", "Nodes of a run.")


@endpoint(blueprint, "GET /runs/<uuid:run_id>/steps", "runs:read", page_of(StepSchema), query=StepArgs)
def list_steps(query: dict[str, Any], run_id: UUID) -> dict[str, Any]:
    """List the steps of a run in the order of its plan, items of a fan behind it."""
    wanted = page_request(f"steps {run_id}", query)
    return page_document(f"steps {run_id}", browse.list_steps(source(), actor(), run_id, wanted, **query))


@endpoint(blueprint, "GET /runs/<uuid:run_id>/steps/<step_key:key>", "runs:read", StepDetailSchema)
def show_step(run_id: UUID, key: str) -> Any:
    """Show a step with its input, output, errors, attempts."""
    found = browse.show_step(source(), actor(), run_id, key)
    epoch = found["dispatch_epoch"]
    task = f"{parts().flower_url}/task/{run_id}:{key}:{epoch}" if epoch else None
    return {**found, "task_url": task}


@endpoint(
    blueprint,
    "GET /runs/<uuid:run_id>/steps/<step_key:key>/logs",
    "runs:read",
    StepLogSchema,
    query=LogArgs,
)
def read_step_logs(query: dict[str, Any], run_id: UUID, key: str) -> dict[str, Any]:
    """Read what a step logs, also while it runs; a reader that keeps `next_cursor` misses nothing."""
    after = query.get("cursor") or query.get("after")
    return read_step_log(source(), actor(), run_id, key, after, query["limit"], only=query.get("attempt"))


@endpoint(blueprint, "GET /runs/<uuid:run_id>/steps/<step_key:key>/output", "runs:read", None)
def read_output(run_id: UUID, key: str) -> Response:
    """Download the output of a step, whole, also when it is too large for its row."""
    submit = parts().submit
    found = outputs.read_output(source(), submit.engine.artifacts, actor(), run_id, key)
    return _download(found, ASK_EACH_TIME)


@endpoint(
    blueprint, "GET /runs/<uuid:run_id>/steps/<step_key:key>/artifacts/<sha256:digest>", "runs:read", None
)
def read_artifact(run_id: UUID, key: str, digest: str) -> Response:
    """Download an artifact that a step left behind."""
    submit = parts().submit
    found = outputs.read_artifact(source(), submit.engine.artifacts, actor(), run_id, key, digest)
    return _download(found, NEVER_CHANGES)


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>/steps/<step_key:key>:skip",
    "runs:repair",
    RunSchema,
    status=202,
    body=SkipSchema,
    creates=True,
    errors=(412,),
)
def skip_step(body: dict[str, Any], run_id: UUID, key: str) -> Response:
    """Skip a step that has not begun, or that failed in a failed run; its dependants go on."""
    version = expected_version(required=False)
    return answer_once(
        lambda receipt: skip(parts().submit, actor(), run_id, key, body["reason"], version, receipt=receipt),
        steered,
    )


def _download(found: outputs.Content, caching: str) -> Response:
    """Return an answer that sends the pieces; as a file to keep, since an operation chose what is in it."""
    tag = f'"{found.sha256}"'
    answer = unchanged(tag)
    if answer is None:
        # Nobody would close what is opened for a HEAD.
        pieces = () if request.method == "HEAD" else found.pieces()
        answer = Response(pieces, content_type=found.content_type)
        answer.headers["Content-Length"] = str(found.bytes)
        answer.headers["Content-Disposition"] = "attachment"
    return cacheable(answer, tag, caching)
