"""Access tokens, checked where no Flask application is."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import jwt

from app.domain.errors import Unauthenticated
from app.domain.identity import Actor
from app.security.keys import SigningKeys
from app.security.tokens import CLOCKS_APART, ISSUER


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token names, of which session it is, and the moment it ends at, in seconds since 1970."""

    actor: Actor
    session_id: UUID
    ends_at: float


def read_bearer(header: str, keys: SigningKeys, request_id: str) -> Bearer:
    """Return whom an `Authorization` header names; raises Unauthenticated when it names nobody now."""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("send a bearer token")
    try:
        claims = jwt.decode(
            token.strip(),
            keys.public,
            algorithms=["EdDSA"],
            issuer=ISSUER,
            leeway=CLOCKS_APART,
            options={"require": ["exp", "iss", "sub"]},
        )
        if claims["type"] != "access":
            raise Unauthenticated("the token is no access token")
        user_id, tenant_id, session_id = (UUID(claims[name]) for name in ("sub", "tid", "sid"))
        roles = frozenset(claims["roles"])
        actor = Actor(tenant_id, claims["tenant"], user_id, claims["email"], roles, request_id)
    except jwt.ExpiredSignatureError as expired:
        raise Unauthenticated("the access token has expired: refresh it") from expired
    except (jwt.PyJWTError, KeyError, TypeError, ValueError) as refused:
        raise Unauthenticated("the access token is not valid") from refused
    return Bearer(actor, session_id, float(claims["exp"]))
