"""Shapes of the levels of loggers."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.schemas.common import Duration
from app.domain.log_levels import LEVELS

LONGEST_REASON = 500


class NewLogLevelSchema(Schema):
    """The level of a logger as a whole."""

    level = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(LEVELS),
        metadata={"description": "null: what each process was started with"},
    )
    lasts = Duration(
        data_key="for",
        load_default=None,
        allow_none=True,
        metadata={"description": "Ends by itself after this; null: when it is changed"},
    )
    reason = fields.String(load_default="", validate=validate.Length(0, LONGEST_REASON))


class LogLevelSchema(Schema):
    """What is said of a logger; version 0 says that nobody has ever set one."""

    module = fields.String(required=True)
    level = fields.String(required=True, allow_none=True)
    ends_at = fields.DateTime(required=True, allow_none=True)
    in_force = fields.Boolean(required=True)
    reason = fields.String(required=True)
    changed_by = fields.String(required=True)
    version = fields.Integer(required=True)
    updated_at = fields.DateTime(required=True, allow_none=True)


class LogLevelsSchema(Schema):
    """The levels in force."""

    items = fields.List(fields.Nested(LogLevelSchema), required=True)
