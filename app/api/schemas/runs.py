"""Shapes of runs, steps, attempts, repairs."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.converters import StepKey
from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, JsonObject, JsonValue, moment, text
from app.domain.paging import MAX_PAGE
from app.domain.states import RUN_STATES, STEP_STATES

MOST_TRIES = 2**31 - 1
CURSOR = r"^[0-9]{1,9}\.[0-9]{1,9}$"
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
    trace_id = fields.String(
        required=True, allow_none=True, metadata={"description": "Finds its spans and its log lines"}
    )
    open_steps = fields.Integer(required=True)
    failed_steps = fields.Integer(required=True)
    error = JsonObject(required=True, allow_none=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    concurrency_key = fields.String(required=True, allow_none=True)
    admitted_at = fields.DateTime(required=True, allow_none=True)
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)
    deadline_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "When it fails unless it has ended"}
    )
    begin_by = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "When it fails unless it has begun"}
    )
    compensation = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(("wanted", "running", "complete", "failed")),
        metadata={"description": "How far what it completed is undone; null: nobody asked for that"},
    )


class ProgressSchema(Schema):
    """How far the present try of a step is, as its operation tells."""

    fraction = fields.Float(required=True, allow_none=True, metadata={"description": "From 0 to 1"})
    message = fields.String(required=True, allow_none=True)
    at = fields.String(required=True, metadata={"format": "date-time"})


class ReusedFromSchema(Schema):
    """The identical step whose result was used in place of a call."""

    run = fields.UUID(required=True)
    step = fields.String(required=True)


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
    undoes = fields.String(
        required=True, allow_none=True, metadata={"description": "The key of the step it compensates"}
    )
    child_run_id = fields.UUID(
        required=True, allow_none=True, metadata={"description": "The run that this step is, latest round"}
    )
    continue_on_failure = fields.Boolean(required=True)
    not_before = fields.DateTime(required=True, allow_none=True)
    error = JsonObject(required=True, allow_none=True)
    started_at = fields.DateTime(required=True, allow_none=True)
    finished_at = fields.DateTime(required=True, allow_none=True)
    progress = fields.Nested(
        ProgressSchema,
        required=True,
        allow_none=True,
        metadata={"description": "Of a step that has not ended well; null until it reports"},
    )
    reused_from = fields.Nested(
        ReusedFromSchema,
        required=True,
        allow_none=True,
        metadata={"description": "Null unless the operation was not called"},
    )


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
    task_url = fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "Its last task in Flower, which keeps some; null before it was sent"},
    )


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


class LogArgs(Schema):
    """From where to read a step's log."""

    attempt = fields.Integer(
        validate=validate.Range(1, MOST_TRIES),
        metadata={"description": "Only this try, as `tries` of the step counts them"},
    )
    after = text(CURSOR, 21, metadata={"description": "`next_cursor` of the answer before"})
    cursor = text(CURSOR, 21, metadata={"description": "The same as after"})
    limit = fields.Integer(load_default=100, validate=validate.Range(1, MAX_PAGE))


class LogLineSchema(Schema):
    """One line that an operation logged; secrets of the step are masked."""

    attempt = fields.Integer(required=True, metadata={"description": "The try, as `tries` counts them"})
    n = fields.Integer(
        required=True, metadata={"description": "Its number within the try, lines that were left out counted"}
    )
    at = fields.String(required=True, metadata={"format": "date-time"})
    level = fields.String(required=True)
    text = fields.String(required=True)
    logger = fields.String(metadata={"description": "Of a line that did not come by `context.log`"})
    fields_ = fields.Dict(data_key="fields", attribute="fields")
    truncated = fields.Boolean(metadata={"description": "True for the mark where lines were left out"})


class StepLogSchema(Schema):
    """Lines of a step, tries in order."""

    items = fields.List(fields.Nested(LogLineSchema), required=True)
    next_cursor = fields.String(
        required=True, metadata={"description": "Pass as after; the same one again when nothing is new"}
    )
    state = fields.String(
        required=True, metadata={"description": "Of the step: when it has ended, an empty answer is the end"}
    )


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


class CancelSchema(ReasonSchema):
    """Why a run is cancelled, whether what it did is undone."""

    compensate = fields.Boolean(load_default=False)


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
