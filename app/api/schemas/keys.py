"""Shapes of key-encryption keys, which have names here, never values."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.schemas.platform import LONGEST_REASON

MOST_AT_ONCE = 500


class KeySchema(Schema):
    """A key-encryption key: how many tenants' keys it wraps, when it last sealed the audit trail."""

    key_id = fields.String(required=True)
    state = fields.String(required=True, validate=validate.OneOf(("newest", "older", "missing")))
    tenant_keys = fields.Integer(required=True)
    sealed_until = fields.DateTime(required=True, allow_none=True)


class KeysSchema(Schema):
    """The keys at hand, the newest first, then those that are missing."""

    items = fields.List(fields.Nested(KeySchema), required=True)


class KeyBatchSchema(Schema):
    """How many tenants are dealt with by this call, or that they are only counted."""

    limit = fields.Integer(load_default=100, strict=True, validate=validate.Range(1, MOST_AT_ONCE))
    dry_run = fields.Boolean(load_default=False, truthy={True}, falsy={False})


class RewrapSchema(Schema):
    """What was wrapped anew, what remains, what hangs on keys that are not at hand."""

    newest = fields.String(required=True)
    rewrapped = fields.Integer(required=True)
    remaining = fields.Integer(required=True)
    missing = fields.Integer(required=True)
    unreadable = fields.Integer(required=True)


class NewAbandonmentSchema(KeyBatchSchema):
    """Why what hangs on a lost key is given up."""

    reason = fields.String(required=True, validate=validate.Length(1, LONGEST_REASON))


class AbandonmentSchema(Schema):
    """What was given up, what remains."""

    key_id = fields.String(required=True)
    tenants = fields.Integer(required=True)
    secrets = fields.Integer(required=True)
    remaining = fields.Integer(required=True)
