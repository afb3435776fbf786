"""Shapes of intents, their generations, submissions."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, Duration, JsonObject, ProblemRef, moment, number, text
from app.domain.states import INTENT_PHASES

LARGEST_BATCH = 1000
MOST_LABELS = 32
LABEL_KEY = r"^[a-z][a-z0-9_./-]{0,62}$"
PRIORITIES = (0, 9)


class SubmissionSchema(Schema):
    """An intent to declare."""

    type = text(DOTTED, 255, required=True)
    type_version = number(1, metadata={"description": "The latest one unless given"})
    name = text()
    spec = JsonObject(required=True)
    labels = fields.Dict(
        keys=text(LABEL_KEY, 63),
        values=fields.String(validate=validate.Length(0, 255)),
        load_default=dict,
        validate=validate.Length(0, MOST_LABELS),
    )
    priority = number(*PRIORITIES, load_default=0)
    deadline = Duration(metadata={"description": "The run fails unless it ends so long after its creation"})
    queue_timeout = Duration(
        metadata={"description": "The run fails unless it is begun so long after its creation"}
    )


class BatchSchema(Schema):
    """Many intents at once."""

    # Items are checked one by one, so that a bad one does not refuse its neighbours.
    items = fields.List(
        JsonObject(),
        required=True,
        validate=validate.Length(1, LARGEST_BATCH),
        metadata={"description": "Each one a Submission"},
    )
    atomic = fields.Boolean(load_default=False, metadata={"description": "All of them or none"})


class RunRefSchema(Schema):
    """The run that realises an intent."""

    id = fields.UUID(required=True)
    state = fields.String(required=True)


class IntentSchema(Schema):
    """A declared intent, with the spec of its present generation."""

    id = fields.UUID(required=True)
    type = fields.String(required=True)
    type_version = fields.Integer(required=True)
    name = fields.String(required=True, allow_none=True)
    mode = fields.String(required=True)
    phase = fields.String(required=True)
    generation = fields.Integer(required=True)
    observed_generation = fields.Integer(required=True, allow_none=True)
    priority = fields.Integer(required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    version = fields.Integer(required=True)
    created_by = fields.UUID(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class IntentDetailSchema(IntentSchema):
    """An intent with its spec."""

    spec = JsonObject(required=True)


class AcceptedIntentSchema(Schema):
    """What is known of an intent when it is accepted."""

    id = fields.UUID(required=True)
    type = fields.String(required=True)
    type_version = fields.Integer(required=True)
    name = fields.String(required=True, allow_none=True)
    phase = fields.String(required=True)
    generation = fields.Integer(required=True)


class AcceptedSchema(Schema):
    """A durable intent with its run."""

    intent = fields.Nested(AcceptedIntentSchema, required=True)
    run = fields.Nested(RunRefSchema, required=True)


class BatchResultSchema(Schema):
    """What became of one item: accepted, or a problem."""

    index = fields.Integer(required=True)
    status = fields.Integer(required=True)
    intent = fields.Nested(AcceptedIntentSchema)
    run = fields.Nested(RunRefSchema)
    problem = fields.Nested(ProblemRef)


class BatchAnswerSchema(Schema):
    """One result for each item, in order."""

    accepted = fields.Integer(required=True)
    items = fields.List(fields.Nested(BatchResultSchema), required=True)


class IntentArgs(PageArgs):
    """Which intents to list."""

    phase = fields.String(validate=validate.OneOf(INTENT_PHASES))
    state = fields.String(
        validate=validate.OneOf(INTENT_PHASES), metadata={"description": "Another word for phase"}
    )
    type = text(DOTTED, 255)
    label = text(
        r"^[a-z][a-z0-9_./-]{0,62}(=.{0,255})?$", 320, metadata={"description": "`key` or `key=value`"}
    )
    created_after = moment()
    created_before = moment()


class GenerationSchema(Schema):
    """One generation of an intent's spec."""

    generation = fields.Integer(required=True)
    spec = JsonObject(required=True)
    spec_hash = fields.String(required=True)
    created_by = fields.UUID(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
