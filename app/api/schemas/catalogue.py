"""Shapes of modules, intent types, workflow definitions, secrets."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.paging import PageArgs
from app.api.schemas.common import DOTTED, JsonObject, text

LONGEST_SECRET = 64 * 1024
LAST_VERSION = 999_999_999
"""Nine digits, as the paths of versions have them: enough for a date."""


class ModuleSchema(Schema):
    """A module with its manifest: operations with the JSON Schemas of their inputs."""

    name = fields.String(required=True)
    version = fields.String(required=True)
    source = fields.String(
        required=True,
        validate=validate.OneOf(("installed", "tenant")),
        metadata={"description": "Who brought it"},
    )
    manifest = JsonObject(required=True)
    created_at = fields.DateTime(allow_none=True)


class ModuleManifestSchema(Schema):
    """The manifest of a module to register: intent types over workflows that stand or come with it."""

    name = text(r"^[a-z][a-z0-9_]{0,62}$", required=True)
    version = text(r"^[0-9]{1,6}(\.[0-9]{1,6}){0,2}$", 20, required=True)
    description = fields.String(load_default="", validate=validate.Length(0, 2000))
    workflows = fields.List(JsonObject(), load_default=list, validate=validate.Length(0, 100))
    intent_types = fields.List(
        fields.Nested("NewIntentTypeSchema"), load_default=list, validate=validate.Length(0, 100)
    )


class NewIntentTypeSchema(Schema):
    """An intent type that a manifest brings."""

    name = text(DOTTED, required=True)
    version = fields.Integer(required=True, strict=True, validate=validate.Range(1, LAST_VERSION))
    mode = fields.String(load_default="job", validate=validate.Equal("job"))
    description = fields.String(load_default="", validate=validate.Length(0, 2000))
    spec_schema = JsonObject(required=True)
    workflow_name = text(DOTTED, required=True)
    workflow_version = fields.Integer(required=True, strict=True, validate=validate.Range(1, LAST_VERSION))


class IntentTypeSchema(Schema):
    """An intent type with the JSON Schema of its spec."""

    name = fields.String(required=True)
    version = fields.Integer(required=True)
    mode = fields.String(required=True)
    description = fields.String()
    spec_schema = JsonObject(required=True)
    workflow_name = fields.String(required=True)
    workflow_version = fields.Integer(required=True)
    module = fields.String(allow_none=True)


class WorkflowArgs(PageArgs):
    """Which definitions to list."""

    name = text(DOTTED, 255)


class WorkflowSummarySchema(Schema):
    """A workflow definition, without its steps."""

    name = fields.String(required=True)
    version = fields.Integer(required=True)
    plan_hash = fields.String(required=True)
    source = fields.String(required=True, validate=validate.OneOf(("installed", "tenant")))
    created_at = fields.DateTime(allow_none=True)


class WorkflowSchema(WorkflowSummarySchema):
    """A workflow definition: immutable once registered."""

    document = JsonObject(required=True)


class NewSecretSchema(Schema):
    """A secret's value; it is never shown again."""

    value = fields.String(required=True, load_only=True, validate=validate.Length(1, LONGEST_SECRET))


class SecretSchema(Schema):
    """A secret's name and version, never its value."""

    name = fields.String(required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)
