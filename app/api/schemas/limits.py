"""Shapes of limits, of the answer why a run waits."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.schemas.common import JsonObject, number
from app.domain.caps import USUAL

HEAVIEST = 1000
MOST = 1_000_000


class NewLimitsSchema(Schema):
    """A tenant's share with its limits and caps, as a whole; a null limit is none."""

    weight = number(1, HEAVIEST)
    max_running_runs = number(0, MOST, allow_none=True)
    max_running_steps = number(0, MOST, allow_none=True)
    caps = fields.Dict(
        keys=fields.String(validate=validate.OneOf(tuple(USUAL))),
        values=number(0, MOST),
        metadata={"description": "By kind, those that are not to be as usual"},
    )


class CapUseSchema(Schema):
    """What the tenant may keep of a kind, what is usual, what it keeps."""

    most = fields.Integer(required=True)
    usual = fields.Integer(required=True)
    in_use = fields.Integer(required=True)


class LimitsSchema(Schema):
    """A tenant's share with its limits; version 0 says that nobody has set them."""

    weight = fields.Integer(required=True)
    max_running_runs = fields.Integer(required=True, allow_none=True)
    max_running_steps = fields.Integer(required=True, allow_none=True)
    caps = fields.Dict(
        keys=fields.String(), values=fields.Nested(CapUseSchema), attribute="cap_uses", required=True
    )
    version = fields.Integer(required=True)
    updated_at = fields.DateTime(required=True, allow_none=True)
    pools = fields.List(
        fields.String(), required=True, metadata={"description": "Pools dedicated to the tenant"}
    )


class DedicatedPoolSchema(Schema):
    """A pool that belongs to one tenant."""

    pool = fields.String(required=True)
    tenant_id = fields.UUID(required=True)
    created_at = fields.DateTime(required=True)


class LimitUseSchema(Schema):
    """A limit that is reached, with the first 20 of the runs that hold its places."""

    name = fields.String(required=True)
    value = fields.Integer(required=True)
    in_use = fields.Integer(required=True)
    holders = fields.List(fields.UUID(), required=True)


class WaitReasonSchema(Schema):
    """Why the run waits."""

    code = fields.String(required=True)
    message = fields.String(required=True)
    limit = fields.Nested(LimitUseSchema, required=True, allow_none=True)


class PlaceSchema(Schema):
    """How many waiting runs go before this one: of its tenant, of all tenants in its pool."""

    in_tenant = fields.Integer(required=True)
    in_pool = fields.Integer(required=True)


class StepReasonSchema(Schema):
    """What one open step waits for, or that it runs."""

    key = fields.String(required=True)
    state = fields.String(required=True)
    code = fields.String(required=True)
    message = fields.String(required=True)
    detail = JsonObject(required=True)


class ExplanationSchema(Schema):
    """Why a run does not go on."""

    run_id = fields.UUID(required=True)
    state = fields.String(required=True)
    pool = fields.String(required=True)
    dedicated = fields.Boolean(
        required=True, metadata={"description": "Whether the pool belongs to this tenant alone"}
    )
    waiting = fields.Boolean(required=True)
    reasons = fields.List(fields.Nested(WaitReasonSchema), required=True)
    place = fields.Nested(PlaceSchema, required=True, allow_none=True)
    estimate_s = fields.Float(required=True, allow_none=True)
    steps = fields.List(fields.Nested(StepReasonSchema), required=True)
