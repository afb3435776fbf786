"""Shapes of a run's timeline."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.schemas.common import JsonObject

SOURCES = ("event", "attempt", "audit")


class TransitionSchema(Schema):
    """One thing that happened to a run."""

    at = fields.DateTime(required=True)
    source = fields.String(required=True, metadata={"enum": list(SOURCES)})
    name = fields.String(
        required=True,
        metadata={"description": "Of the event, `attempt.` with how it went, the audited action"},
    )
    step = fields.String(required=True, allow_none=True)
    tries = fields.Integer(required=True, allow_none=True, metadata={"description": "Which try of the step"})
    actor = JsonObject(
        required=True, allow_none=True, metadata={"description": "Who did it; null for the platform itself"}
    )
    worker = fields.String(required=True, allow_none=True)
    cause = fields.String(required=True, allow_none=True)
    detail = JsonObject(required=True, allow_none=True)
