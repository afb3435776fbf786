"""Shapes of runs, steps, attempts, repairs."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.converters import StepKey
from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, JsonObject, JsonValue, moment, text
from app.domain.states import RUN_STATES, STEP_STATES

MOST_REPAIRED = 1000
OUTCOMES = ("success", "failure", "always")


class WorkflowRefSchema(Schema):
    """Which definition a run follows."""

    name = fields.String(required=True)
    version = fields.Integer(required=True)


class ParentSchema(Schema):
    """The run that a run is a step of."""

    run_id = fields.UUID(required=True)
    step = fields.String(required=True)


class RunSchema(Schema):
    """One execution of a plan."""

    id = fields.UUID(required=True)
    intent_id = fields.UUID(required=True)
    generation = fields.Integer(required=True)
    type = fields.String(required=True)
    state = fields.String(required=True)
    workflow = fields.Nested(WorkflowRefSchema, required=True)
    priority = fields.Integer(required=True)
    round = fields.Integer(required=True)
    parent = fields.Nested(
        ParentSchema,
        required=True,
        allow_none=True,
        metadata={"description": "The step that this run is; null for the run of an intent"},
    )
    depth = fields.Integer(required=True, metadata={"description": "How many runs stand above it"})
    open_steps = fields.Integer(required=True)
    failed_steps = fields.Integer(required=True)
    error = JsonObject(required=True, allow_none=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    concurrency_key = fields.String(required=True, allow_none=True)
    admitted_at = fields.DateTime(required=True, allow_none=True)
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)


class StepSchema(Schema):
    """One node of a run."""

    key = fields.String(required=True)
    base = fields.String(required=True)
    item = fields.Integer(required=True, allow_none=True)
    state = fields.String(required=True)
    operation = fields.String(required=True, allow_none=True)
    queue = fields.String(required=True, allow_none=True)
    attempt = fields.Integer(required=True)
    tries = fields.Integer(required=True)
    round = fields.Integer(required=True)
    kills = fields.Integer(required=True)
    needs = fields.List(fields.String(), required=True)
    child_run_id = fields.UUID(
        required=True, allow_none=True, metadata={"description": "The run that this step is, latest round"}
    )
    continue_on_failure = fields.Boolean(required=True)
    not_before = fields.DateTime(required=True, allow_none=True)
    error = JsonObject(required=True, allow_none=True)
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)


class AttemptSchema(Schema):
    """One try of a step."""

    tries = fields.Integer(required=True)
    attempt = fields.Integer(required=True)
    round = fields.Integer(required=True)
    state = fields.String(required=True)
    worker = fields.String(required=True, allow_none=True)
    error = JsonObject(required=True, allow_none=True)
    started_at = fields.DateTime(required=True)
    finished_at = fields.DateTime(required=True, allow_none=True)


class StepDetailSchema(StepSchema):
    """A step with what went in, what came out, every try."""

    input = JsonValue(required=True, allow_none=True)
    output = JsonValue(required=True, allow_none=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)


class EdgeSchema(Schema):
    """A need: `target` waits for `source`."""

    source = fields.String(required=True)
    target = fields.String(required=True)
    on = fields.String(
        required=True,
        metadata={"description": "How `source` has to end: success, failure, always", "enum": list(OUTCOMES)},
    )


class GraphSchema(Schema):
    """The plan's graph: its base steps with their needs."""

    nodes = fields.List(fields.String(), required=True)
    edges = fields.List(fields.Nested(EdgeSchema), required=True)


class RunDetailSchema(RunSchema):
    """A run with its graph and up to 1,000 steps; the others are read page by page."""

    spec = JsonValue(
        required=True,
        allow_none=True,
        metadata={"description": "A sub-workflow's own; null when the run follows its intent's"},
    )
    output = JsonValue(
        required=True,
        allow_none=True,
        metadata={"description": "What the workflow's `output` gives once the run has succeeded"},
    )
    steps = fields.List(fields.Nested(StepSchema), required=True)
    steps_total = fields.Integer(required=True)
    graph = fields.Nested(GraphSchema, required=True)


class RunArgs(PageArgs):
    """Which runs to list."""

    state = fields.String(validate=validate.OneOf(RUN_STATES))
    type = text(DOTTED, 255)
    intent_id = fields.UUID()
    parent = fields.UUID(metadata={"description": "Only the runs that are steps of this one"})
    label = text(
        r"^[a-z][a-z0-9_./-]{0,62}(=.{0,255})?$", 320, metadata={"description": "`key` or `key=value`"}
    )
    created_after = moment()
    created_before = moment()


class StepArgs(PageArgs):
    """Which steps to list."""

    state = fields.String(validate=validate.OneOf(STEP_STATES))


class SignalAnswerSchema(Schema):
    """What became of a signal or a decision."""

    name = fields.String(required=True)
    step = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The step that took it; null while it is kept for the next that waits"},
    )
    decision = fields.String(required=True, allow_none=True)
    run_state = fields.String(required=True)


class ReasonSchema(Schema):
    """Why a run is cancelled or paused."""

    reason = text()


class SkipSchema(Schema):
    """Why a step is skipped."""

    reason = text(required=True)


class RetrySchema(Schema):
    """From which step a run is retried."""

    from_ = text(f"^{StepKey.regex}$", data_key="from", attribute="from")


class RerunSchema(Schema):
    """What the new run is to do instead."""

    spec = JsonValue()


class DeadLetterSchema(Schema):
    """A step that failed for good."""

    run_id = fields.UUID(required=True)
    key = fields.String(required=True)
    base = fields.String(required=True)
    item = fields.Integer(required=True, allow_none=True)
    type = fields.String(required=True)
    intent_id = fields.UUID(required=True)
    operation = fields.String(required=True)
    queue = fields.String(required=True)
    attempt = fields.Integer(required=True)
    tries = fields.Integer(required=True)
    round = fields.Integer(required=True)
    kills = fields.Integer(required=True)
    error = JsonObject(required=True, allow_none=True)
    parked_at = fields.DateTime(required=True)
    run_state = fields.String(required=True)
    run_version = fields.Integer(required=True)


class DeadLetterDetailSchema(DeadLetterSchema):
    """A dead letter with what went in, every try of it."""

    input = JsonValue(required=True, allow_none=True)
    attempts = fields.List(fields.Nested(AttemptSchema), required=True)


class RunFilterSchema(Schema):
    """Which failed runs to retry."""

    state = fields.String(load_default="failed", validate=validate.Equal("failed"))
    type = text(DOTTED, 255)
    label = text(r"^[a-z][a-z0-9_./-]{0,62}(=.{0,255})?$", 320)
    created_after = moment()
    created_before = moment()


class BulkRetrySchema(Schema):
    """A repair by filter."""

    filter = fields.Nested(RunFilterSchema, required=True)
    dry_run = fields.Boolean(load_default=False, metadata={"description": "Only count what would be retried"})
    limit = fields.Integer(strict=True, load_default=MOST_REPAIRED, validate=validate.Range(1, MOST_REPAIRED))


class BulkRetryItemSchema(Schema):
    """What became of one run."""

    run_id = fields.UUID(required=True)
    error = fields.String(
        required=True, allow_none=True, metadata={"description": "Why it was not retried; null when it was"}
    )


class BulkRetryAnswerSchema(Schema):
    """How many runs matched, what became of them."""

    matched = fields.Integer(required=True)
    retried = fields.Integer(required=True)
    items = fields.List(fields.Nested(BulkRetryItemSchema), required=True)
