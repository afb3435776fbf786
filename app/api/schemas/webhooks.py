"""Shapes of webhooks with their deliveries."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.api.paging import PageArgs
from app.api.schemas.common import JsonObject, moment, text
from app.api.schemas.intents import LABEL_KEY, MOST_LABELS
from app.api.schemas.trails import LARGEST_POSITION
from app.domain.webhooks import STATES

LONGEST_OVERLAP_S = 7 * 86_400
_PATTERN = r"^(\*|(io\.quantum\.)?[a-z_]+\.(\*|[a-z_]+))$"


def _types(**options: Any) -> fields.List[Any]:
    return fields.List(
        text(_PATTERN, 100),
        validate=validate.Length(1, 50),
        metadata={"description": "run.failed, run.*, or * for all"},
        **options,
    )


def _labels(**options: Any) -> fields.Dict:
    return fields.Dict(
        keys=text(LABEL_KEY, 63),
        values=fields.String(validate=validate.Length(0, 255)),
        validate=validate.Length(0, MOST_LABELS),
        metadata={"description": "Only events of intents, runs whose intent has all of these"},
        **options,
    )


class WebhookPatchSchema(Schema):
    """What to change of a webhook."""

    name = text(longest=100)
    url = text(longest=2000)
    types = _types()
    labels = _labels()
    state = fields.String(validate=validate.OneOf(("active", "disabled")))


class NewWebhookSchema(Schema):
    """A webhook to make."""

    name = text(longest=100, required=True)
    url = text(longest=2000, required=True)
    types = _types(required=True)
    labels = _labels(load_default=dict)


class SignerSchema(Schema):
    """A signing secret without its value."""

    id = fields.UUID(required=True)
    created_at = fields.String(required=True)
    expires_at = fields.String(
        required=True, allow_none=True, metadata={"description": "Until then it signs beside the next one"}
    )


class WebhookSchema(Schema):
    """A webhook, with how its endpoint does."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    url = fields.String(required=True)
    types = fields.List(fields.String(), required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    state = fields.String(required=True, validate=validate.OneOf(("active", "disabled")))
    disabled_reason = fields.String(required=True, allow_none=True)
    breaker = fields.String(required=True, validate=validate.OneOf(("closed", "open", "half_open")))
    failures = fields.Integer(required=True, metadata={"description": "Attempts since the last success"})
    retry_at = fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "When an open breaker lets one attempt through"},
    )
    delivered_at = fields.DateTime(required=True, allow_none=True)
    failing_since = fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "Every attempt failed since then; after five days it is disabled"},
    )
    secrets = fields.List(fields.Nested(SignerSchema), required=True)
    version = fields.Integer(required=True)
    created_by = fields.UUID(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class WebhookWithSecretSchema(WebhookSchema):
    """A webhook with the secret that no other answer shows."""

    secret = fields.String(required=True, metadata={"description": "whsec_…, shown this once"})


class RotationSchema(Schema):
    """How long the secret before signs beside the new one."""

    overlap_s = fields.Integer(
        strict=True, load_default=86_400, validate=validate.Range(0, LONGEST_OVERLAP_S)
    )


class WebhookArgs(PageArgs):
    """Which webhooks to list."""

    state = fields.String(validate=validate.OneOf(("active", "disabled")))


class DeliveryArgs(PageArgs):
    """Which deliveries to list."""

    state = fields.String(validate=validate.OneOf(STATES))


class DeliverySchema(Schema):
    """One event for one webhook."""

    event_id = fields.UUID(required=True, metadata={"description": "Its webhook-id too"})
    subject = fields.String(required=True)
    type = fields.String(required=True)
    position = fields.Integer(required=True)
    occurred_at = fields.DateTime(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    attempts = fields.Integer(required=True)
    since = fields.DateTime(
        required=True, metadata={"description": "When it was made, or replayed: its 24 hours begin here"}
    )
    ready_at = fields.DateTime(
        required=True,
        allow_none=True,
        metadata={"description": "The next attempt; null while an earlier event of its subject is tried"},
    )
    last_status = fields.Integer(required=True, allow_none=True)
    last_error = fields.String(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)


class DeliveryAttemptSchema(Schema):
    """One attempt."""

    n = fields.Integer(required=True)
    at = fields.DateTime(required=True)
    latency_ms = fields.Integer(required=True)
    status = fields.Integer(required=True, allow_none=True)
    error = fields.String(required=True, allow_none=True)
    response = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The beginning of the body, credentials masked"},
    )


class DeliveryDetailSchema(DeliverySchema):
    """A delivery with the event's data, its attempts."""

    data = JsonObject(required=True)
    log = fields.List(fields.Nested(DeliveryAttemptSchema), required=True)


class ReplaySchema(Schema):
    """What to deliver again: exactly one of after, since, dead_letters."""

    after = fields.Integer(
        strict=True,
        validate=validate.Range(0, LARGEST_POSITION),
        metadata={"description": "The position behind which events are delivered again"},
    )
    since = moment(metadata={"description": "Events from this moment on"})
    dead_letters = fields.Boolean(validate=validate.Equal(True))

    @validates_schema
    def _exactly_one(self, data: dict[str, Any], **_: Any) -> None:
        if len(data) != 1:
            raise ValidationError("give exactly one of after, since, dead_letters")


class ReplayAnswerSchema(Schema):
    """What will be delivered again."""

    replayed = fields.Integer(required=True)
    next_after = fields.Integer(
        required=True, allow_none=True, metadata={"description": "Pass as after; null when that was all"}
    )
