"""Shapes of schedules with their firings."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, JsonObject, moment, number, text
from app.api.schemas.intents import LABEL_KEY, MOST_LABELS, PRIORITIES
from app.domain.schedules import CATCH_UPS, CAUSES, MAX_JITTER_S, OUTCOMES, OVERLAPS, STATES

_DAY_S = 86_400
LONGEST_INTERVAL_S = 366 * _DAY_S
LONGEST_WINDOW_S = 31 * _DAY_S
MOST_TIMES = 100


def _seconds(low: float, high: float, **options: Any) -> fields.Float:
    return fields.Float(validate=validate.Range(low, high), **options)


class TimingSchema(Schema):
    """When a schedule fires: exactly one of cron, every_s, at."""

    cron = text(longest=200, metadata={"description": "5 fields, or 6 with seconds first"})
    every_s = _seconds(1, LONGEST_INTERVAL_S, metadata={"description": "Counted from start_at, or from now"})
    at = moment(metadata={"description": "Once"})
    timezone = text(longest=64, load_default="UTC", metadata={"description": "IANA name; cron is read in it"})
    start_at = moment()
    end_at = moment()
    jitter_s = _seconds(0, MAX_JITTER_S, load_default=0.0)

    @validates_schema
    def _exactly_one(self, data: dict[str, Any], **_: Any) -> None:
        if sum(name in data for name in ("cron", "every_s", "at")) != 1:
            raise ValidationError("give exactly one of cron, every_s, at")


def _labels(**options: Any) -> fields.Dict:
    return fields.Dict(
        keys=text(LABEL_KEY, 63),
        values=fields.String(validate=validate.Length(0, 255)),
        validate=validate.Length(0, MOST_LABELS - 1),
        **options,
    )


class SchedulePatchSchema(Schema):
    """What to change of a schedule; a timing is replaced as a whole."""

    name = text(longest=100)
    type = text(DOTTED, 255)
    type_version = number(1, metadata={"description": "The latest one at each firing unless given"})
    spec = JsonObject(
        metadata={
            "description": "May hold ${run.scheduled_at}, ${run.schedule}, ${run.cause}; $${ is a plain ${"
        }
    )
    labels = _labels()
    priority = number(*PRIORITIES)
    timing = fields.Nested(TimingSchema)
    overlap = fields.String(
        validate=validate.OneOf(OVERLAPS), metadata={"description": "When the run before has not ended"}
    )
    catch_up = fields.String(
        validate=validate.OneOf(CATCH_UPS),
        metadata={"description": "Which firings that were missed start late"},
    )
    catch_up_window_s = _seconds(0, LONGEST_WINDOW_S)


class NewScheduleSchema(SchedulePatchSchema):
    """A schedule to make."""

    name = text(longest=100, required=True)
    type = text(DOTTED, 255, required=True)
    spec = JsonObject(required=True)
    labels = _labels(load_default=dict)
    priority = number(*PRIORITIES, load_default=0)
    timing = fields.Nested(TimingSchema, required=True)
    overlap = fields.String(validate=validate.OneOf(OVERLAPS), load_default="skip")
    catch_up = fields.String(validate=validate.OneOf(CATCH_UPS), load_default="latest")
    catch_up_window_s = _seconds(0, LONGEST_WINDOW_S, load_default=3_600.0)


class ShownTimingSchema(Schema):
    """When it fires."""

    cron = fields.String(required=True, allow_none=True)
    every_s = fields.Float(required=True, allow_none=True)
    at = fields.DateTime(required=True, allow_none=True)
    timezone = fields.String(required=True)
    start_at = fields.DateTime(required=True, allow_none=True)
    end_at = fields.DateTime(required=True, allow_none=True)
    jitter_s = fields.Float(required=True)


class ScheduleSchema(Schema):
    """A schedule with the firing that is next."""

    id = fields.UUID(required=True)
    name = fields.String(required=True)
    type = fields.String(required=True)
    type_version = fields.Integer(required=True, allow_none=True)
    spec = JsonObject(required=True)
    labels = fields.Dict(keys=fields.String(), values=fields.String(), required=True)
    priority = fields.Integer(required=True)
    timing = fields.Nested(ShownTimingSchema, required=True)
    overlap = fields.String(required=True)
    catch_up = fields.String(required=True)
    catch_up_window_s = fields.Float(required=True)
    state = fields.String(required=True, validate=validate.OneOf(STATES))
    pause_reason = fields.String(required=True, allow_none=True)
    next_at = fields.DateTime(required=True, allow_none=True)
    due_at = fields.DateTime(
        required=True, allow_none=True, metadata={"description": "next_at with its part of the jitter"}
    )
    version = fields.Integer(required=True)
    created_by = fields.UUID(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class ScheduleArgs(PageArgs):
    """Which schedules to list."""

    state = fields.String(validate=validate.OneOf(STATES))


class FiringSchema(Schema):
    """One firing: its place in the timetable, what became of it."""

    id = fields.UUID(required=True)
    schedule_id = fields.UUID(required=True)
    scheduled_at = fields.DateTime(required=True)
    cause = fields.String(required=True, validate=validate.OneOf(CAUSES))
    outcome = fields.String(required=True, validate=validate.OneOf(OUTCOMES))
    reason = fields.String(required=True, allow_none=True)
    intent_id = fields.UUID(required=True, allow_none=True)
    run_id = fields.UUID(required=True, allow_none=True)
    due_at = fields.DateTime(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)


class TimesArgs(Schema):
    """How many of the next firing times, from when on."""

    count = fields.Integer(load_default=10, validate=validate.Range(1, MOST_TIMES))
    after = moment()


class TimesSchema(Schema):
    """The next firing times, without jitter."""

    items = fields.List(fields.DateTime(), required=True)


class BackfillSchema(Schema):
    """A range of the past to fire for."""

    start = moment(required=True, data_key="from")
    end = moment(required=True, data_key="to")
    per_minute = fields.Float(load_default=60.0, validate=validate.Range(0.1, 6_000))


class BackfillAnswerSchema(Schema):
    """What was planned."""

    planned = fields.Integer(required=True, metadata={"description": "Without those there already"})
    first = fields.DateTime(required=True, allow_none=True)
    last = fields.DateTime(required=True, allow_none=True)
