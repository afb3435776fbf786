"""Shapes of feature flags."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

REASON = validate.Length(1, 500)


class FlagRuleSchema(Schema):
    """A flag's rule as a whole: what is left out is as declared."""

    killed = fields.Boolean(
        load_default=False, metadata={"description": "Off for everybody, whatever else is said"}
    )
    percentage = fields.Float(
        load_default=None,
        allow_none=True,
        validate=validate.Range(0, 100),
        metadata={"description": "Share of the tenants it is on for, to 0.01; null: the declared default"},
    )
    reason = fields.String(required=True, validate=REASON)


class FlagOverrideSchema(Schema):
    """What holds for one tenant."""

    enabled = fields.Boolean(
        required=True, allow_none=True, metadata={"description": "null: the rule holds again"}
    )
    reason = fields.String(required=True, validate=REASON)


class ShownOverrideSchema(Schema):
    """What holds for one tenant, since when."""

    tenant_id = fields.UUID(required=True)
    enabled = fields.Boolean(required=True)
    reason = fields.String(required=True)
    updated_at = fields.DateTime(required=True)


class FlagSchema(Schema):
    """A feature flag; version 0 says that nobody has set a rule."""

    name = fields.String(required=True)
    description = fields.String(required=True)
    default = fields.Boolean(required=True)
    killed = fields.Boolean(required=True)
    percentage = fields.Float(required=True, allow_none=True)
    reason = fields.String(required=True)
    version = fields.Integer(required=True)
    updated_at = fields.DateTime(required=True, allow_none=True)
    overrides = fields.List(
        fields.Nested(ShownOverrideSchema),
        required=True,
        metadata={"description": "The first 100"},
    )


class FlagsSchema(Schema):
    """Every flag there is."""

    items = fields.List(fields.Nested(FlagSchema), required=True)


class PresentFlagsSchema(Schema):
    """Which flags are on for the caller's tenant."""

    flags = fields.Dict(keys=fields.String(), values=fields.Boolean(), required=True)
