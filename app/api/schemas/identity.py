"""Shapes of sign-in, tenants, users."""

from __future__ import annotations

from marshmallow import Schema, fields, validate

from app.api.paging import PageArgs
from app.api.schemas.common import EMAIL, SLUG, JsonObject, text
from app.domain.identity import ROLES

SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 256


def _new_password() -> fields.String:
    return fields.String(
        required=True, load_only=True, validate=validate.Length(SHORTEST_PASSWORD, LONGEST_PASSWORD)
    )


class CredentialsSchema(Schema):
    """Who signs in, where."""

    tenant = text(required=True, metadata={"description": "Slug of the tenant"})
    email = text(required=True)
    password = fields.String(required=True, load_only=True, validate=validate.Length(1, LONGEST_PASSWORD))


class RefreshSchema(Schema):
    """A refresh token to exchange, or to end."""

    refresh_token = text(required=True)


class OwnPasswordSchema(Schema):
    """The caller's password, present and future."""

    current = fields.String(required=True, load_only=True, validate=validate.Length(1, LONGEST_PASSWORD))
    new = _new_password()


class TokenSchema(Schema):
    """A fresh pair of tokens."""

    access_token = fields.String(required=True)
    refresh_token = fields.String(required=True)
    token_type = fields.String(required=True)
    expires_in = fields.Integer(required=True, metadata={"description": "Seconds the access token lasts"})


class MeSchema(Schema):
    """The caller, as its token tells."""

    user_id = fields.UUID(required=True)
    email = fields.String(required=True)
    tenant_id = fields.UUID(required=True)
    tenant = fields.String(required=True)
    roles = fields.List(fields.String(), required=True)
    permissions = fields.List(fields.String(), required=True)


class FirstAdminSchema(Schema):
    """The first administrator of a tenant."""

    email = text(EMAIL, required=True)
    password = _new_password()
    display_name = text()


class NewTenantSchema(Schema):
    """A tenant to create."""

    slug = text(SLUG, 63, required=True)
    name = text(required=True)
    admin = fields.Nested(FirstAdminSchema, required=True)


class TenantPatchSchema(Schema):
    """What may change of a tenant."""

    name = text()
    state = fields.String(validate=validate.OneOf(("active", "suspended")))
    settings = JsonObject()


class TenantSchema(Schema):
    """A tenant."""

    id = fields.UUID(required=True)
    slug = fields.String(required=True)
    name = fields.String(required=True)
    state = fields.String(required=True)
    settings = JsonObject(required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)


class UserArgs(PageArgs):
    """Which users to list."""

    state = fields.String(validate=validate.OneOf(("active", "disabled")))


class NewUserSchema(Schema):
    """A user to create in the caller's tenant."""

    email = text(EMAIL, required=True)
    password = _new_password()
    display_name = text()
    roles = fields.List(
        fields.String(validate=validate.OneOf(ROLES)), required=True, validate=validate.Length(1, len(ROLES))
    )


class UserPatchSchema(Schema):
    """What may change of a user."""

    display_name = text()
    state = fields.String(validate=validate.OneOf(("active", "disabled")))
    roles = fields.List(
        fields.String(validate=validate.OneOf(ROLES)), validate=validate.Length(0, len(ROLES))
    )
    password = fields.String(load_only=True, validate=validate.Length(SHORTEST_PASSWORD, LONGEST_PASSWORD))


class UserSchema(Schema):
    """A user, without anything of the password."""

    id = fields.UUID(required=True)
    email = fields.String(required=True)
    display_name = fields.String(required=True, allow_none=True)
    state = fields.String(required=True)
    roles = fields.List(fields.String(), required=True)
    version = fields.Integer(required=True)
    created_at = fields.DateTime(required=True)
    updated_at = fields.DateTime(required=True)
