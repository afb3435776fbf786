"""Shapes of triggers with their firings."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, JsonObject, number, text
from app.api.schemas.intents import LABEL_KEY, MOST_LABELS, PRIORITIES
from app.api.schemas.webhooks import SignerSchema
from app.domain.triggers import OUTCOMES, SOURCES, STATES
from workflows.cel import MAX_EXPRESSION

TRIGGER_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
_PATTERN = r"^(\*|(io\.quantum\.)?[a-z_]+\.(\*|[a-z_]+))$"


class ListensSchema(Schema):
    """What a trigger hears: events of some types, or signed messages; a filter may narrow both."""

    source = fields.String(validate=validate.OneOf(SOURCES), load_default="events")
    types = fields.List(
        text(_PATTERN, 100),
        validate=validate.Length(1, 50),
        metadata={"description": "run.failed, run.*, or * for all but those of triggers"},
    )
    filter = text(
        longest=MAX_EXPRESSION,
        allow_none=True,
        metadata={"description": "CEL over event.id, type, subject, time, data"},
    )


def _labels(**options: Any) -> fields.Dict:
    return fields.Dict(
        keys=text(LABEL_KEY, 63),
        values=fields.String(validate=validate.Length(0, 255)),
        validate=validate.Length(0, MOST_LABELS - 1),
        **options,
    )


class TriggerPatchSchema(Schema):
    """What to change of a trigger; `on` is replaced as a whole."""

    name = text(TRIGGER_NAME, 63)
    on = fields.Nested(ListensSchema)
    type = text(DOTTED, 255)
    type_version = number(1, metadata={"description": "The latest one at each firing unless given"})
    spec = JsonObject(metadata={"description": "May hold ${event.data...}; $${ is a plain ${"})
    labels = _labels()
    priority = number(*PRIORITIES)


class NewTriggerSchema(TriggerPatchSchema):
    """A trigger to make."""

    name = text(TRIGGER_NAME, 63, required=True)
    on = fields.Nested(ListensSchema, required=True)
    type = text(DOTTED, 255, required=True)
    spec = JsonObject(required=True)
    labels = _labels(load_default=dict)
    priority = number(*PRIORITIES, load_default=0)


class HeardSchema(Schema):
    """What it hears."""

    source = fields.String(required=True, validate=validate.OneOf(SOURCES))
    types = fields.List(fields.String(), required=True)
    filter = fields.String(required=True, allow_none=True)


class TriggerSchema(Schema):
    """A trigger."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    on = fields.Nested(HeardSchema, required=True)
    type = fields.String(required=True)
    type_version = fields.Integer(required=True, allow_none=True)
    spec = JsonObject(required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    priority = fields.Integer(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    pause_reason = fields.String(required=True, allow_none=True)
    path = fields.String(
        required=True, allow_none=True, metadata={"description": "Where signed messages are to be sent"}
    )
    secrets = fields.List(fields.Nested(SignerSchema), required=True)
    version = fields.Integer(required=True)
    created_by = fields.UUID(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class TriggerWithSecretSchema(TriggerSchema):
    """A trigger with the secret that no other answer shows."""

    secret = fields.String(
        required=True, allow_none=True, metadata={"description": "whsec_…, shown this once; null for events"}
    )


class TriggerArgs(PageArgs):
    """Which triggers to list."""

    state = fields.String(validate=validate.OneOf(STATES))


class TriggerFiringSchema(Schema):
    """What became of one event, or of one message."""

    id = fields.UUID(required=True)
    trigger_id = fields.UUID(required=True)
    event_id = fields.String(required=True, metadata={"description": "The event's id, or the webhook-id"})
    type = fields.String(required=True)
    subject = fields.String(required=True)
    outcome = fields.String(required=True, validate=validate.OneOf(OUTCOMES))
    reason = fields.String(required=True, allow_none=True)
    depth = fields.Integer(
        required=True, metadata={"description": "How many triggers led here, this one too"}
    )
    intent_id = fields.UUID(required=True, allow_none=True)
    run_id = fields.UUID(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)


class ReceivedSchema(Schema):
    """What became of a message."""

    outcome = fields.String(required=True, validate=validate.OneOf(OUTCOMES))
    reason = fields.String(required=True, allow_none=True)
    intent_id = fields.UUID(required=True, allow_none=True)
    run_id = fields.UUID(required=True, allow_none=True)
