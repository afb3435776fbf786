"""Shapes of usage."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.domain.usage import MEASURES


class SpanArgs(Schema):
    """Which days, in UTC, both included."""

    first = fields.Date(required=True, data_key="from", metadata={"description": "The first day"})
    last = fields.Date(required=True, data_key="to", metadata={"description": "The last day"})


class LatencyArgs(SpanArgs):
    """Which days, what is measured."""

    measure = fields.String(
        load_default="duration",
        validate=validate.OneOf(MEASURES),
        metadata={"description": "wait: until the first step began; duration: until the end"},
    )


class UsageDaySchema(Schema):
    """What a tenant used on one day: runs by the day they ended, events by the day they happened."""

    day = fields.Date(required=True)
    runs_succeeded = fields.Integer(required=True)
    runs_failed = fields.Integer(required=True)
    runs_cancelled = fields.Integer(required=True)
    attempts = fields.Integer(required=True, metadata={"description": "Of steps of these runs"})
    step_seconds = fields.Float(required=True, metadata={"description": "Sum of their durations"})
    events = fields.Integer(required=True)
    event_bytes = fields.Integer(required=True, metadata={"description": "Of their data"})


class UsageSchema(Schema):
    """Days on which something was used."""

    items = fields.List(fields.Nested(UsageDaySchema), required=True)


class BucketSchema(Schema):
    """How many runs took at most so long."""

    at_most_s = fields.Float(required=True, allow_none=True, metadata={"description": "null: all of them"})
    runs = fields.Integer(required=True)


class LatenciesSchema(Schema):
    """A histogram of runs, with quantiles estimated from it; null without runs."""

    measure = fields.String(required=True)
    runs = fields.Integer(required=True)
    p50_s = fields.Float(required=True, allow_none=True)
    p95_s = fields.Float(required=True, allow_none=True)
    p99_s = fields.Float(required=True, allow_none=True)
    buckets = fields.List(fields.Nested(BucketSchema), required=True)


class TenantUsageSchema(Schema):
    """What one tenant used."""

    tenant_id = fields.UUID(required=True)
    slug = fields.String(required=True)
    runs = fields.Integer(required=True)
    attempts = fields.Integer(required=True)
    step_seconds = fields.Float(required=True)
    events = fields.Integer(required=True)
    event_bytes = fields.Integer(required=True)


class TopUsageSchema(Schema):
    """The hundred tenants that used most, by step seconds."""

    items = fields.List(fields.Nested(TenantUsageSchema), required=True)
