"""Triggers: made, changed, paused, with the history of what they started."""

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
from app.api.schemas.triggers import (
    NewTriggerSchema,
    TriggerArgs,
    TriggerFiringSchema,
    TriggerPatchSchema,
    TriggerSchema,
    TriggerWithSecretSchema,
)
from app.api.schemas.webhooks import RotationSchema
from app.api.validation import optional
from app.services import manage_triggers as service

blueprint = Blueprint("triggers", "Intents declared when something happens.")

PATH = "/triggers/<uuid:trigger_id>"
_TRIGGER = TriggerSchema()
_REASON = ReasonSchema()


@endpoint(
    blueprint,
    "POST /triggers",
    "triggers:write",
    TriggerWithSecretSchema,
    status=201,
    body=NewTriggerSchema,
    tagged=True,
    errors=(409,),
)
def create_trigger(body: dict[str, Any]) -> Any:
    """Make a trigger; the answer shows its secret, this once, so it is not kept for an Idempotency-Key."""
    made = service.create_trigger(parts().hooks, actor(), _wanted(body))
    return _with_secret(made.row, made.secret)


@endpoint(blueprint, "GET /triggers", "triggers:read", page_of(TriggerSchema), query=TriggerArgs)
def list_triggers(query: dict[str, Any]) -> dict[str, Any]:
    """List the triggers by name."""
    wanted = page_request("triggers", query)
    found = service.list_triggers(source(), actor(), wanted, query.get("state"))
    document: dict[str, Any] = page_document("triggers", found)
    return {**document, "items": [_shown(row) for row in document["items"]]}


@endpoint(blueprint, f"GET {PATH}", "triggers:read", TriggerSchema, tagged=True)
def show_trigger(trigger_id: UUID) -> Any:
    """Show a trigger."""
    return _tagged(service.show_trigger(source(), actor(), trigger_id))


@endpoint(
    blueprint,
    f"PATCH {PATH}",
    "triggers:write",
    TriggerSchema,
    body=TriggerPatchSchema,
    changes=True,
    errors=(409,),
)
def change_trigger(body: dict[str, Any], trigger_id: UUID) -> Any:
    """Change a trigger."""
    return _tagged(
        service.change_trigger(parts().hooks, actor(), trigger_id, expected_version(), _wanted(body))
    )


@endpoint(blueprint, f"DELETE {PATH}", "triggers:write", None, status=204, errors=(412,))
def delete_trigger(trigger_id: UUID) -> Response:
    """Delete a trigger with its history; what it started goes on."""
    service.delete_trigger(parts().hooks, actor(), trigger_id, expected_version(required=False))
    return Response(status=204)


@endpoint(
    blueprint,
    f"POST {PATH}:pause",
    "triggers:write",
    TriggerSchema,
    document=OPTIONAL_REASON,
    creates=True,
    errors=(412,),
)
def pause_trigger(trigger_id: UUID) -> Response:
    """Pause a trigger: what happens until it is resumed is not heard."""
    return _steered(trigger_id, "pause", optional(_REASON).get("reason"))


@endpoint(blueprint, f"POST {PATH}:resume", "triggers:write", TriggerSchema, creates=True, errors=(412,))
def resume_trigger(trigger_id: UUID) -> Response:
    """Resume a trigger: it hears what happens from now on."""
    return _steered(trigger_id, "resume", None)


@endpoint(
    blueprint,
    f"POST {PATH}:rotate-secret",
    "triggers:write",
    TriggerWithSecretSchema,
    body=RotationSchema,
    changes=True,
    errors=(409,),
)
def rotate_trigger_secret(body: dict[str, Any], trigger_id: UUID) -> Any:
    """Give a trigger a new secret; during the overlap both are taken."""
    made = service.rotate_trigger_secret(
        parts().hooks, actor(), trigger_id, expected_version(), body["overlap_s"]
    )
    return _with_secret(made.row, made.secret)


@endpoint(blueprint, f"GET {PATH}/firings", "triggers:read", page_of(TriggerFiringSchema), query=PageArgs)
def list_trigger_firings(query: dict[str, Any], trigger_id: UUID) -> dict[str, Any]:
    """List what a trigger decided, the latest first."""
    wanted = page_request("trigger firings", query)
    found = service.list_trigger_firings(source(), actor(), trigger_id, wanted)
    return page_document("trigger firings", found)


def _steered(trigger_id: UUID, verb: str, reason: str | None) -> Response:
    version = expected_version(required=False)

    def answer(row: Mapping[str, Any]) -> Rendered:
        headers = {"Location": f"{PREFIX}/triggers/{trigger_id}", "ETag": etag_of(row["version"])}
        return rendered(200, _TRIGGER, _shown(row), headers)

    return answer_once(
        lambda receipt: service.steer_trigger(
            parts().hooks, actor(), trigger_id, verb, version, reason, receipt
        ),
        answer,
    )


def _wanted(body: dict[str, Any]) -> dict[str, Any]:
    """Return the body as columns."""
    wanted = {name: value for name, value in body.items() if name not in ("on", "type")}
    if "type" in body:
        wanted["type_name"] = body["type"]
    if "on" in body:
        wanted |= {"types": [], "filter": None, **body["on"]}
    return wanted


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    inbound = row["source"] == "inbound"
    path = f"/hooks/{actor().tenant_slug}/{row['name']}" if inbound else None
    return {**row, "on": row, "path": path}


def _tagged(row: Mapping[str, Any]) -> Any:
    return _shown(row), {"ETag": etag_of(row["version"])}


def _with_secret(row: Mapping[str, Any], secret: str | None) -> Any:
    headers = {"Location": f"{PREFIX}/triggers/{row['id']}", "ETag": etag_of(row["version"])}
    return {**_shown(row), "secret": secret}, headers
