"""Shapes of workers, of their orders, of queues, of maintenance."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.schemas.common import number
from app.domain.hands import LARGEST_POOL, WORKER_STATES

LONGEST_REASON = 500


def reason() -> fields.String:
    """Return the field of a reason, which may be empty."""
    return fields.String(validate=validate.Length(0, LONGEST_REASON))


class OrderPatchSchema(Schema):
    """What to order; what is left out stays as it is."""

    state = fields.String(validate=validate.OneOf(WORKER_STATES))
    pool_size = number(1, LARGEST_POOL, allow_none=True)
    reason = reason()


class OrderSchema(Schema):
    """The order to the workers of one name; version 0 says that nobody has ordered anything."""

    name = fields.String(required=True)
    state = fields.String(required=True)
    pool_size = fields.Integer(required=True, allow_none=True)
    reason = fields.String(required=True)
    changed_by = fields.String(required=True)
    version = fields.Integer(required=True)
    updated_at = fields.DateTime(required=True, allow_none=True)


class WorkerSchema(Schema):
    """A worker process, with the order that it heeds already and the one that is in force.

    A `lost` one died, or froze, within the hour; no other of its name has come since.
    """

    boot = fields.UUID(required=True)
    name = fields.String(required=True)
    pid = fields.Integer(required=True)
    state = fields.String(required=True)
    lost = fields.Boolean(required=True)
    version = fields.String(required=True)
    protocol = fields.Integer(required=True)
    skewed = fields.Boolean(required=True)
    queues = fields.List(fields.String(), required=True)
    processes = fields.Integer(required=True)
    busy = fields.Integer(required=True)
    heeds = fields.String(required=True)
    order = fields.Nested(OrderSchema, required=True)
    started_at = fields.DateTime(required=True)
    seen_at = fields.DateTime(required=True)


class QueueSchema(Schema):
    """A queue: messages in the broker (null while it is away), steps, waiting runs; ages in seconds."""

    queue = fields.String(required=True)
    depth = fields.Integer(required=True, allow_none=True)
    sent = fields.Integer(required=True)
    running = fields.Integer(required=True)
    unsent = fields.Integer(required=True)
    waiting_runs = fields.Integer(required=True)
    oldest_s = fields.Float(required=True, allow_none=True)
    oldest_run_s = fields.Float(required=True, allow_none=True)
    workers = fields.Integer(required=True)
    slots = fields.Integer(required=True)


class QueuesSchema(Schema):
    """Every queue with work or a live worker."""

    items = fields.List(fields.Nested(QueueSchema), required=True)


class RunningStepSchema(Schema):
    """A step that runs now, with the seconds since its claim."""

    tenant = fields.String(required=True)
    run_id = fields.UUID(required=True)
    key = fields.String(required=True)
    operation = fields.String(required=True)
    tries = fields.Integer(required=True)
    worker = fields.String(required=True, allow_none=True)
    seconds = fields.Float(required=True)


class RunningStepsSchema(Schema):
    """The steps that have run longest."""

    items = fields.List(fields.Nested(RunningStepSchema), required=True)


class NewMaintenanceSchema(Schema):
    """Whether the platform is to be held, and why."""

    active = fields.Boolean(required=True, truthy={True}, falsy={False})
    reason = fields.String(load_default="", validate=validate.Length(0, LONGEST_REASON))


class MaintenanceSchema(Schema):
    """Whether the platform accepts work without beginning any."""

    active = fields.Boolean(required=True)
    reason = fields.String(required=True)
    since = fields.DateTime(required=True, allow_none=True)
    changed_by = fields.String(required=True)
    version = fields.Integer(required=True)


class BeatJobSchema(Schema):
    """A job of a lane: when it was begun last, how long it is overdue, how it failed if it did."""

    name = fields.String(required=True)
    last_at = fields.DateTime(required=True)
    late_s = fields.Float(required=True)
    last_error = fields.String(required=True, allow_none=True)


class BeatLaneSchema(Schema):
    """Jobs of beat that wait for each other, but not for those of other lanes."""

    name = fields.String(required=True)
    last_at = fields.DateTime(required=True, metadata={"description": "When any beat began one of them last"})
    jobs = fields.List(fields.Nested(BeatJobSchema), required=True)


class BeatSchema(Schema):
    """The lanes of beat."""

    items = fields.List(fields.Nested(BeatLaneSchema), required=True)
