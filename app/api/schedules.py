"""Schedules: made, changed, paused, triggered, filled back, with the history of their firings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response

from app.api.etags import etag_of, expected_version
from app.api.idempotency import Rendered, answer_once, rendered
from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.runs import OPTIONAL_REASON
from app.api.schemas.common import page_of
from app.api.schemas.runs import ReasonSchema
from app.api.schemas.schedules import (
    BackfillAnswerSchema,
    BackfillSchema,
    FiringSchema,
    NewScheduleSchema,
    ScheduleArgs,
    SchedulePatchSchema,
    ScheduleSchema,
    TimesArgs,
    TimesSchema,
)
from app.api.validation import optional
from app.services import manage_schedules as service

blueprint = Blueprint("schedules", "What is declared again and again.")

PATH = "/schedules/<uuid:schedule_id>"
_SCHEDULE = ScheduleSchema()
_FIRING = FiringSchema()
_BACKFILL = BackfillAnswerSchema()
_REASON = ReasonSchema()


@endpoint(
    blueprint,
    "POST /schedules",
    "schedules:write",
    ScheduleSchema,
    status=201,
    body=NewScheduleSchema,
    creates=True,
    tagged=True,
)
def create_schedule(body: dict[str, Any]) -> Response:
    """Make a schedule; it is active at once."""
    wanted = _wanted(body)
    return answer_once(
        lambda receipt: service.create_schedule(parts().submit, actor(), wanted, receipt),
        lambda made: _rendered(201, made),
    )


@endpoint(blueprint, "GET /schedules", "schedules:read", page_of(ScheduleSchema), query=ScheduleArgs)
def list_schedules(query: dict[str, Any]) -> dict[str, Any]:
    """List the schedules by name."""
    wanted = page_request("schedules", query)
    found = service.list_schedules(source(), actor(), wanted, query.get("state"))
    document: dict[str, Any] = page_document("schedules", found)
    return {**document, "items": [_shown(row) for row in document["items"]]}


@endpoint(blueprint, f"GET {PATH}", "schedules:read", ScheduleSchema, tagged=True)
def show_schedule(schedule_id: UUID) -> Any:
    """Show a schedule."""
    found = service.show_schedule(source(), actor(), schedule_id)
    return _shown(found), {"ETag": etag_of(found["version"])}


@endpoint(
    blueprint,
    f"PATCH {PATH}",
    "schedules:write",
    ScheduleSchema,
    body=SchedulePatchSchema,
    changes=True,
    errors=(409,),
)
def change_schedule(body: dict[str, Any], schedule_id: UUID) -> Any:
    """Change a schedule; a new timing counts from now on."""
    changed = service.change_schedule(parts().submit, actor(), schedule_id, expected_version(), _wanted(body))
    return _shown(changed), {"ETag": etag_of(changed["version"])}


@endpoint(blueprint, f"DELETE {PATH}", "schedules:write", None, status=204, errors=(412,))
def delete_schedule(schedule_id: UUID) -> Response:
    """Delete a schedule with its history; what it started goes on."""
    service.delete_schedule(parts().submit, actor(), schedule_id, expected_version(required=False))
    return Response(status=204)


@endpoint(
    blueprint,
    f"POST {PATH}:pause",
    "schedules:write",
    ScheduleSchema,
    document=OPTIONAL_REASON,
    creates=True,
    errors=(412,),
)
def pause_schedule(schedule_id: UUID) -> Response:
    """Pause a schedule: it fires no more until it is resumed."""
    version, reason = expected_version(required=False), optional(_REASON).get("reason")
    return answer_once(
        lambda receipt: service.pause_schedule(
            parts().submit, actor(), schedule_id, version, reason, receipt
        ),
        lambda row: _rendered(200, row),
    )


@endpoint(blueprint, f"POST {PATH}:resume", "schedules:write", ScheduleSchema, creates=True, errors=(412,))
def resume_schedule(schedule_id: UUID) -> Response:
    """Resume a schedule: what fell into the pause is not caught up."""
    version = expected_version(required=False)
    return answer_once(
        lambda receipt: service.resume_schedule(parts().submit, actor(), schedule_id, version, receipt),
        lambda row: _rendered(200, row),
    )


@endpoint(blueprint, f"POST {PATH}:trigger", "schedules:write", FiringSchema, status=202, creates=True)
def trigger_schedule(schedule_id: UUID) -> Response:
    """Fire now, beside the timetable."""
    return answer_once(
        lambda receipt: service.trigger_schedule(parts().submit, actor(), schedule_id, receipt),
        lambda fired: rendered(202, _FIRING, fired, {"Location": f"{PREFIX}/runs/{fired['run_id']}"}),
    )


@endpoint(
    blueprint,
    f"POST {PATH}:backfill",
    "schedules:write",
    BackfillAnswerSchema,
    status=202,
    body=BackfillSchema,
    creates=True,
)
def backfill_schedule(body: dict[str, Any], schedule_id: UUID) -> Response:
    """Plan the firings of a past range, at a rate."""
    return answer_once(
        lambda receipt: service.backfill_schedule(
            parts().submit, actor(), schedule_id, body["start"], body["end"], body["per_minute"], receipt
        ),
        lambda made: rendered(202, _BACKFILL, made),
    )


@endpoint(blueprint, f"GET {PATH}/firings", "schedules:read", page_of(FiringSchema), query=PageArgs)
def list_firings(query: dict[str, Any], schedule_id: UUID) -> dict[str, Any]:
    """List what became of the firings, the latest first."""
    wanted = page_request("firings", query)
    return page_document("firings", service.list_firings(source(), actor(), schedule_id, wanted))


@endpoint(blueprint, f"GET {PATH}/times", "schedules:read", TimesSchema, query=TimesArgs)
def list_times(query: dict[str, Any], schedule_id: UUID) -> dict[str, Any]:
    """List the next firing times."""
    count, after = query["count"], query.get("after")
    return {"items": service.next_times(source(), actor(), schedule_id, count, after)}


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as columns."""
    wanted = {name: value for name, value in body.items() if name not in ("timing", "type")}
    if "type" in body:
        wanted["type_name"] = body["type"]
    return {**wanted, **body.get("timing", {})}


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its timing in one member."""
    return {**row, "timing": row}


def _rendered(status: int, row: Mapping[str, Any]) -> Rendered:
    headers = {"Location": f"{PREFIX}/schedules/{row['id']}", "ETag": etag_of(row["version"])}
    return rendered(status, _SCHEDULE, _shown(row), headers)
