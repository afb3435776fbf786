"""Signals for runs that wait, decisions among them."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from flask import Response, request

from app.api.bodies import read_document
from app.api.idempotency import Rendered, answer_once, rendered
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.runs import SignalAnswerSchema
from app.domain.waits import MAX_PAYLOAD_BYTES, SignalReceipt
from app.services.tell_run import tell_run

blueprint = Blueprint("signals", "What runs wait for.")

_ANSWER = SignalAnswerSchema()
_BODY: Final = {
    "required": False,
    "description": "A signal's payload: any JSON. Where the workflow names approvers: {decision, reason}.",
    "content": {
        "application/json": {
            "schema": {
                "anyOf": [
                    {
                        "type": "object",
                        "properties": {
                            "decision": {"enum": ["approve", "reject"]},
                            "reason": {"type": "string", "minLength": 1, "maxLength": 2000},
                        },
                        "required": ["decision"],
                        "additionalProperties": False,
                    },
                    {},
                ]
            }
        }
    },
}


@endpoint(
    blueprint,
    "POST /runs/<uuid:run_id>/signals/<signal_name:name>",
    "runs:read",
    SignalAnswerSchema,
    status=202,
    document=_BODY,
    creates=True,
    largest_body=MAX_PAYLOAD_BYTES,
)
def send_signal(run_id: UUID, name: str) -> Response:
    """Send a signal to a run, or decide what it waits for: the workflow names the roles of approvers."""
    body: Any = read_document() if request.get_data(cache=True) else None
    return answer_once(
        lambda receipt: tell_run(parts().submit, actor(), run_id, name, body, receipt=receipt), _accepted
    )


def _accepted(receipt: SignalReceipt) -> Rendered:
    return rendered(202, _ANSWER, receipt)
