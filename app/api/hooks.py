"""Where signed messages come in."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from flask import request

from app.api.bodies import parse_json
from app.api.request_context import parts
from app.api.routes import ANYBODY, Blueprint, endpoint
from app.api.schemas.triggers import ReceivedSchema
from app.domain.sources import source_of
from app.domain.triggers import LARGEST_MESSAGE
from app.services.receive_hook import Message, receive_message

blueprint = Blueprint("hooks", "Signed messages from outside.", prefix="")

_DOCUMENT: Mapping[str, Any] = {
    "required": True,
    "description": "Signed as Standard Webhooks say: webhook-id, webhook-timestamp, webhook-signature",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


@endpoint(
    blueprint,
    "POST /hooks/<string:tenant>/<string:name>",
    ANYBODY,
    ReceivedSchema,
    status=202,
    document=_DOCUMENT,
    errors=(401, 429),
    largest_body=LARGEST_MESSAGE,
)
def receive_hook(tenant: str, name: str) -> Mapping[str, Any]:
    """Take a signed message, once for each webhook-id; every refusal of a sender is the same 401."""
    # Counted by source before anything is looked up, by trigger once the sender has proved itself.
    parts().hook_limits.check(uuid5(NAMESPACE_URL, source_of(request.remote_addr)))
    headers = {key.lower(): value for key, value in request.headers.items()}
    message = Message(headers, request.get_data(cache=True), time.time())
    return receive_message(parts().hooks, tenant, name, message, parse_json, _permit)


def _permit(tenant_id: UUID, trigger_id: UUID) -> None:
    parts().flags.require("event_triggers", tenant_id)
    parts().hook_limits.check(trigger_id)
