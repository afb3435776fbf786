"""Sessions, with the caller's own account."""

from __future__ import annotations

from typing import Any

from flask import Response, g, request
from flask_jwt_extended import create_access_token

from app.api.request_context import actor, parts
from app.api.routes import ANYBODY, SIGNED_IN, Blueprint, endpoint
from app.api.schemas.identity import (
    CredentialsSchema,
    MeSchema,
    OwnPasswordSchema,
    RefreshSchema,
    TokenSchema,
)
from app.domain.identity import PERMISSIONS, is_allowed
from app.security.tokens import ACCESS_LIFETIME
from app.services.sign_in import (
    Origin,
    SignedIn,
    change_own_password,
    refresh,
    sign_in,
    sign_out,
)

blueprint = Blueprint("auth", "Tokens, and who holds them.")


@endpoint(blueprint, "POST /auth/token", ANYBODY, TokenSchema, body=CredentialsSchema, errors=(401, 429))
def create_token(body: dict[str, str]) -> dict[str, Any]:
    """Sign in with the tenant's slug, an email address, a password."""
    return _tokens(sign_in(parts().database, body["tenant"], body["email"], body["password"], _origin()))


@endpoint(blueprint, "POST /auth/refresh", ANYBODY, TokenSchema, body=RefreshSchema, errors=(401, 429))
def refresh_token(body: dict[str, str]) -> dict[str, Any]:
    """Exchange a refresh token, which works once: a second use ends the whole family of tokens."""
    return _tokens(refresh(parts().database, body["refresh_token"], _origin()))


@endpoint(blueprint, "POST /auth/revoke", ANYBODY, None, status=204, body=RefreshSchema)
def revoke_token(body: dict[str, str]) -> Response:
    """End the session of a refresh token, within 5 seconds; 204 as well for none, or one that has ended."""
    sign_out(parts().database, body["refresh_token"], _origin())
    return Response(status=204)


@endpoint(blueprint, "GET /me", SIGNED_IN, MeSchema)
def show_me() -> dict[str, Any]:
    """Tell who the caller is, with the permissions of its roles."""
    caller = actor()
    return {
        "user_id": caller.user_id,
        "email": caller.email,
        "tenant_id": caller.tenant_id,
        "tenant": caller.tenant_slug,
        "roles": sorted(caller.roles),
        "permissions": sorted(each for each in PERMISSIONS if is_allowed(caller, each)),
    }


@endpoint(blueprint, "PUT /me/password", SIGNED_IN, None, status=204, body=OwnPasswordSchema)
def change_password(body: dict[str, str]) -> Response:
    """Change the caller's own password, by way of the present one; all sessions of the account end."""
    change_own_password(parts().database, actor(), body["current"], body["new"])
    return Response(status=204)


def _origin() -> Origin:
    return Origin(g.request_id, request.remote_addr)


def _tokens(signed_in: SignedIn) -> dict[str, Any]:
    claims = {
        "tid": str(signed_in.tenant_id),
        "sid": str(signed_in.session_id),
        "tenant": signed_in.tenant_slug,
        "email": signed_in.email,
        "roles": sorted(signed_in.roles),
    }
    return {
        "access_token": create_access_token(str(signed_in.user_id), additional_claims=claims),
        "refresh_token": signed_in.refresh_token,
        "token_type": "Bearer",
        "expires_in": int(ACCESS_LIFETIME.total_seconds()),
    }
