"""Runs: listed, shown with their graph, steered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from app.api.converters import StepKey
from app.api.etags import etag_of, expected_version
from app.api.idempotency import Rendered, answer_once, rendered
from app.api.paging import page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.limits import ExplanationSchema
from app.api.schemas.runs import (
    CancelSchema,
    ReasonSchema,
    RerunSchema,
    RetrySchema,
    RunArgs,
    RunDetailSchema,
    RunSchema,
)
from app.api.validation import optional, optional_body
from app.domain.runs import Run
from app.security.authorize import authorize
from app.services import browse
from app.services.cancel_run import cancel_run as cancel
from app.services.explain_run import explain_run as explain
from app.services.pause_run import pause_run as pause
from app.services.pause_run import resume_run as resume
from app.services.rerun_run import SAME_SPEC
from app.services.rerun_run import rerun_run as rerun
from app.services.retry_run import retry_run as retry

blueprint = Blueprint("runs", "Executions of plans.")

_RUN = RunSchema()
_REASON = ReasonSchema()
_CANCEL = CancelSchema()
_RETRY = RetrySchema()
_RERUN = RerunSchema()
OPTIONAL_REASON = optional_body({"reason": {"type": "string", "minLength": 1, "maxLength": 200}})
OPTIONAL_CANCEL = optional_body(
    {
        "reason": {"type": "string", "minLength": 1, "maxLength": 200},
        "compensate": {
            "type": "boolean",
            "default": False,
            "description": "Undo what completed, in reverse order, before the run ends",
        },
    }
)
OPTIONAL_STEP = optional_body({"from": {"type": "string", "pattern": f"^{StepKey.regex}$"}})
OPTIONAL_SPEC = optional_body(
    {"spec": {"description": "Becomes the intent's next generation when it differs"}}
)


@endpoint(blueprint, "GET /runs", "runs:read", page_of(RunSchema), query=RunArgs)
def list_runs(query: dict[str, Any]) -> dict[str, Any]:
    """List the runs, latest first."""
    wanted = page_request("runs", query)
    return page_document("runs", browse.list_runs(source(), actor(), wanted, **query))


@endpoint(blueprint, "GET /runs/<uuid:run_id>", "runs:read", RunDetailSchema, tagged=True)
def show_run(run_id: UUID) -> Any:
    """Show a run with its graph and its first 1,000 steps."""
    engine = parts().submit.engine
    found = browse.show_run(source(), engine.plans, engine.artifacts, actor(), run_id)
    return found, {"ETag": etag_of(found["version"])}


@endpoint(blueprint, "GET /runs/<uuid:run_id>/explain", "runs:read", ExplanationSchema)
def explain_run(run_id: UUID) -> dict[str, Any]:
    """Tell why a run waits: the limit, who holds it, its place, what each open step waits for."""
    return explain(parts().database, parts().submit.admission, actor(), run_id)


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:retry",
    "runs:repair",
    RunSchema,
    status=202,
    document=OPTIONAL_STEP,
    creates=True,
    errors=(412,),
)
def retry_run(run_id: UUID) -> Response:
    """Run again what failed or never ran, or from a step on, whatever became of it."""
    version, step = expected_version(required=False), optional(_RETRY).get("from")
    return answer_once(
        lambda receipt: retry(parts().submit, actor(), run_id, version, from_step=step, receipt=receipt),
        steered,
    )


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:cancel",
    "runs:repair",
    RunSchema,
    status=202,
    document=OPTIONAL_CANCEL,
    creates=True,
    errors=(412,),
)
def cancel_run(run_id: UUID) -> Response:
    """Cancel a run: running steps are stopped, the others never start, what completed is undone if asked."""
    version, body = expected_version(required=False), optional(_CANCEL)
    reason, compensate = body.get("reason"), bool(body.get("compensate"))
    return answer_once(
        lambda receipt: cancel(
            parts().submit, actor(), run_id, version, reason, compensate=compensate, receipt=receipt
        ),
        steered,
    )


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:pause",
    "runs:repair",
    RunSchema,
    status=202,
    document=OPTIONAL_REASON,
    creates=True,
    errors=(412,),
)
def pause_run(run_id: UUID) -> Response:
    """Pause a run: running steps may end, nothing more begins."""
    version, reason = expected_version(required=False), optional(_REASON).get("reason")
    return answer_once(
        lambda receipt: pause(parts().submit, actor(), run_id, version, reason, receipt=receipt), steered
    )


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:resume",
    "runs:repair",
    RunSchema,
    status=202,
    creates=True,
    errors=(412,),
)
def resume_run(run_id: UUID) -> Response:
    """Put a paused run under way again."""
    version = expected_version(required=False)
    return answer_once(
        lambda receipt: resume(parts().submit, actor(), run_id, version, receipt=receipt), steered
    )


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>:rerun",
    "runs:repair",
    RunSchema,
    status=202,
    document=OPTIONAL_SPEC,
    creates=True,
    errors=(412,),
)
def rerun_run(run_id: UUID) -> Response:
    """Start a new run of an ended run's plan; an edited `spec` needs the permission to declare intents."""
    version, spec = expected_version(required=False), optional(_RERUN).get("spec", SAME_SPEC)
    if spec is not SAME_SPEC:
        authorize(actor(), "intents:write")
    return answer_once(
        lambda receipt: rerun(parts().submit, actor(), run_id, spec, version, receipt=receipt), steered
    )


def steered(run: Run) -> Rendered:
    """Return the answer to an accepted change: the run as it is now."""
    headers = {"Location": f"{PREFIX}/runs/{run.id}", "ETag": etag_of(run.version)}
    return rendered(202, _RUN, run, headers)
