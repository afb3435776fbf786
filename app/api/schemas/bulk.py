"""Shapes of bulk actions."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, JsonObject, moment, number, text
from app.domain.bulk import (
    BULK_ACTIONS,
    LEAST_PER_SECOND,
    MOST_ITEMS,
    MOST_PER_SECOND,
    OUTCOMES,
    USUAL_PER_SECOND,
)
from app.domain.states import BULK_STATES, RUN_STATES

USUALLY_RETRIED = 1000
LABEL = r"^[a-z][a-z0-9_./-]{0,62}(=.{0,255})?$"
WORKFLOW = rf"{DOTTED[:-1]}(@[1-9][0-9]{{0,8}})?$"


class BulkFilterSchema(Schema):
    """Which runs; what is left out means any that the action is for."""

    state = fields.String(validate=validate.OneOf(RUN_STATES))
    type = text(DOTTED, 255)
    workflow = text(WORKFLOW, 265, metadata={"description": "`name` or `name@version`"})
    label = text(LABEL, 320, metadata={"description": "`key` or `key=value`"})
    created_after = moment()
    created_before = moment()
    error_code = text(
        r"^[A-Za-z0-9_.:-]{1,100}$",
        100,
        metadata={"description": "Of the run, or of one of its failed steps"},
    )


class BulkRequestSchema(Schema):
    """A command for many runs."""

    action = fields.String(required=True, validate=validate.OneOf(BULK_ACTIONS))
    filter = fields.Nested(BulkFilterSchema, required=True)
    dry_run = fields.Boolean(load_default=False, metadata={"description": "Only count"})
    rate = fields.Float(
        load_default=USUAL_PER_SECOND,
        validate=validate.Range(LEAST_PER_SECOND, MOST_PER_SECOND),
        metadata={"description": "Items per second at most"},
    )
    limit = number(1, MOST_ITEMS, load_default=MOST_ITEMS, metadata={"description": "The oldest that many"})
    reason = text()


class RetryFilterSchema(BulkFilterSchema):
    """Which failed runs to retry."""

    state = fields.String(load_default="failed", validate=validate.Equal("failed"))


class BulkRetrySchema(Schema):
    """A retry of many runs."""

    filter = fields.Nested(RetryFilterSchema, required=True)
    dry_run = fields.Boolean(load_default=False, metadata={"description": "Only count"})
    limit = number(1, MOST_ITEMS, load_default=USUALLY_RETRIED)


class BulkSampleSchema(Schema):
    """One of the first items: a run, or a dead letter of it."""

    run_id = fields.UUID(required=True)
    step = fields.String(required=True, allow_none=True)


class BulkPreviewSchema(Schema):
    """How many items the filter finds now, with the first of them."""

    matched = fields.Integer(required=True)
    sample = fields.List(fields.Nested(BulkSampleSchema), required=True)


class BulkActionSchema(Schema):
    """A command for many runs, as far as it has come."""

    id = fields.UUID(required=True)
    action = fields.String(required=True)
    filter = JsonObject(required=True)
    state = fields.String(required=True)
    rate = fields.Float(required=True)
    reason = fields.String(required=True, allow_none=True)
    matched = fields.Integer(required=True, metadata={"description": "How many the filter found"})
    total = fields.Integer(required=True, metadata={"description": "How many were frozen"})
    done = fields.Integer(required=True)
    counts = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "How many items have which outcome"},
    )
    created_by = JsonObject(required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    finished_at = fields.DateTime(required=True, allow_none=True)


class BulkActionDetailSchema(BulkActionSchema):
    """A bulk action with its first items."""

    sample = fields.List(fields.Nested(BulkSampleSchema), required=True)


class BulkItemSchema(Schema):
    """What became of one item."""

    n = fields.Integer(required=True)
    run_id = fields.UUID(required=True)
    step = fields.String(required=True, allow_none=True)
    outcome = fields.String(required=True)
    error = JsonObject(required=True, allow_none=True)
    new_run_id = fields.UUID(required=True, allow_none=True, metadata={"description": "The run a rerun made"})
    finished_at = fields.DateTime(required=True, allow_none=True)


class BulkArgs(PageArgs):
    """Which bulk actions to list."""

    state = fields.String(validate=validate.OneOf(BULK_STATES))


class BulkItemArgs(PageArgs):
    """Which items to list."""

    outcome = fields.String(validate=validate.OneOf(OUTCOMES))
