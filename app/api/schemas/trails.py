"""Shapes of events with those of audit records."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.paging import PageArgs
from app.api.schemas.common import JsonObject, text
from app.domain.events import EVENT_TYPES
from app.domain.paging import MAX_PAGE

LARGEST_POSITION = 2**63 - 1


class EventArgs(Schema):
    """From where to read the feed."""

    after = fields.Integer(
        load_default=0,
        validate=validate.Range(0, LARGEST_POSITION),
        metadata={"description": "Position behind which to read: next_cursor of the answer before"},
    )
    limit = fields.Integer(load_default=100, validate=validate.Range(1, MAX_PAGE))
    cursor = fields.Integer(
        validate=validate.Range(0, LARGEST_POSITION), metadata={"description": "The same as after"}
    )
    type = fields.String(validate=validate.OneOf(EVENT_TYPES))
    subject = text(r"^[a-z-]+/[A-Za-z0-9._-]{1,128}$")


class StreamArgs(Schema):
    """What the live feed is to carry."""

    after = fields.Integer(
        validate=validate.Range(0, LARGEST_POSITION),
        metadata={"description": "Position to go on behind; without it the stream begins now"},
    )
    type = fields.String(
        validate=validate.Length(1, 2000),
        metadata={"description": "Types with commas, such as run.failed,step.*"},
    )
    subject = text(r"^[a-z-]+/[A-Za-z0-9._-]{1,128}$")


class CloudEventSchema(Schema):
    """A CloudEvents 1.0 envelope."""

    specversion = fields.String(required=True)
    id = fields.String(required=True)
    source = fields.String(required=True)
    type = fields.String(required=True)
    subject = fields.String(required=True)
    time = fields.String(required=True)
    datacontenttype = fields.String(required=True)
    dataschema = fields.String()
    data = fields.Raw(required=True)
    tenantid = fields.String()
    sequence = fields.String()


class EventTypeSchema(Schema):
    """A type of event."""

    type = fields.String(required=True)
    dataschema = fields.String(required=True, metadata={"description": "Names the schema with its version"})
    description = fields.String(required=True)


class EventTypesSchema(Schema):
    """All types of events."""

    items = fields.List(fields.Nested(EventTypeSchema), required=True)


class DataSchemaSchema(Schema):
    """The JSON Schema of a type's data."""

    type = fields.String(required=True)
    dataschema = fields.String(required=True)
    schema = fields.Dict(required=True, metadata={"description": "JSON Schema 2020-12"})


class EventFeedSchema(Schema):
    """Committed events in the order of their positions."""

    items = fields.List(fields.Dict(), required=True, metadata={"description": "CloudEvents 1.0 envelopes"})
    next_cursor = fields.Integer(
        required=True, metadata={"description": "Pass as after; the same one again when nothing is new"}
    )
    more = fields.Boolean(
        required=True,
        metadata={
            "description": "There may be more behind next_cursor now, also where items are few or none"
        },
    )
    gap_upto = fields.Integer(
        required=True,
        allow_none=True,
        metadata={"description": "Some events behind after, up to this position, are kept no longer"},
    )


class AuditArgs(PageArgs):
    """Which records to list."""

    action = text(r"^[a-z_]+(\.[a-z_]+)*$")
    subject = text(r"^[a-z_-]+/[A-Za-z0-9._@+-]{1,128}$")


class AuditRecordSchema(Schema):
    """Who did what to what, when, from where."""

    id = fields.UUID(required=True)
    actor = JsonObject(required=True)
    action = fields.String(required=True)
    subject = fields.String(required=True)
    outcome = fields.String(required=True)
    detail = JsonObject(required=True, allow_none=True)
    request_id = fields.String(required=True, allow_none=True)
    source_ip = fields.String(required=True, allow_none=True)
    created_at = fields.DateTime(required=True)


class VerificationArgs(Schema):
    """Which stretch of the chain to look at."""

    first = fields.Integer(
        load_default=1,
        validate=validate.Range(1, 2**31 - 1),
        metadata={"description": "The seal to begin with: next of the answer before"},
    )
    limit = fields.Integer(
        load_default=20, validate=validate.Range(1, 100), metadata={"description": "Seals of one answer"}
    )


class SealFaultSchema(Schema):
    """What is wrong with one seal."""

    seq = fields.Integer(required=True)
    code = fields.String(
        required=True,
        validate=validate.OneOf(("seal_missing", "seal_changed", "records_changed", "other_key")),
    )
    message = fields.String(required=True)
    key_id = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "The key that is missing, when that is what keeps the seal from being checked"
        },
    )


class VerificationSchema(Schema):
    """Whether the audit trail is as it was written."""

    intact = fields.Boolean(required=True)
    faults = fields.List(fields.Nested(SealFaultSchema), required=True)
    seals = fields.Integer(required=True)
    records = fields.Integer(required=True)
    unsealed = fields.Integer(
        required=True, metadata={"description": "Records older than 5 minutes that no seal vouches for"}
    )
    head_seq = fields.Integer(required=True, metadata={"description": "The last seal looked at"})
    head_mac = fields.String(
        required=True,
        metadata={"description": "Its code: keep it elsewhere, to see later whether the end was cut off"},
    )
    next = fields.Integer(required=True, allow_none=True, metadata={"description": "Pass as first"})
