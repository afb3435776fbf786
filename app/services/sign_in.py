"""Sign-in by password, then by rotating refresh tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.db import sessions, tenants, trail, users
from app.db.engine import Database
from app.db.ids import new_id
from app.db.trail import Mark
from app.domain.errors import RateLimited, Unauthenticated
from app.observability.logging import get_log
from app.security.passwords import hash_password, needs_rehash, verify_password
from app.security.tokens import REFRESH_LIFETIME, RefreshToken, new_refresh_token, parse_refresh_token

FAILURES_PER_USER: Final = 10
FAILURES_PER_ADDRESS: Final = 100
RETRY_AFTER_S: Final = 60

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that asks for a session."""

    request_id: str | None
    source_ip: str | None

    def actor(self, user_id: UUID, email: str | None) -> dict[str, Any]:
        """Return what an audit record keeps of the caller."""
        return {
            "user_id": str(user_id),
            "email": email,
            "request_id": self.request_id,
            "source_ip": self.source_ip,
        }


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in, with the refresh token of this family."""

    tenant_id: UUID
    tenant_slug: str
    user_id: UUID
    email: str
    roles: frozenset[str]
    refresh_token: str = field(repr=False)


def sign_in(database: Database, slug: str, email: str, password: str, origin: Origin) -> SignedIn:
    """Return a new session of the user; raises Unauthenticated, or RateLimited after too many failures.

    The attempt is recorded before it is judged, so that parallel guesses cannot slip below the limit. Tenant,
    user or password being wrong gives one answer after the same work.
    """
    email = email.lower()
    user_key, address_key = _key("user", slug, email), _key("address", origin.source_ip or "")
    with database.anonymous() as connection:
        sessions.note_attempts(connection, [user_key, address_key])
    with database.anonymous() as connection:
        counts = sessions.count_attempts(connection, [user_key, address_key])
        tenant = tenants.resolve(connection, slug)
    if counts.get(user_key, 0) > FAILURES_PER_USER or counts.get(address_key, 0) > FAILURES_PER_ADDRESS:
        raise RateLimited("too many failed sign-ins: try again later", RETRY_AFTER_S)
    user = None
    if tenant is not None and tenant.state == "active":
        with database.tenant(tenant.id) as connection:
            user = users.find_by_email(connection, tenant.id, email)
    good = verify_password(user.password_hash if user else None, password)
    if tenant is None or user is None or not good or user.state != "active":
        log.info("sign_in_refused", tenant=slug)
        raise Unauthenticated("tenant, email or password is wrong")
    token = new_refresh_token(tenant.id, new_id())
    with database.tenant(tenant.id) as connection:
        sessions.open_family(connection, tenant.id, token.family_id, user.id, token.digest, REFRESH_LIFETIME)
        if needs_rehash(user.password_hash):
            users.update(connection, tenant.id, user.id, {"password_hash": hash_password(password)})
        trail.leave(
            connection,
            tenant.id,
            origin.actor(user.id, user.email),
            Mark("session.open", f"users/{user.id}"),
        )
        sessions.forgive(connection, user_key)
        sessions.forgive_one(connection, address_key)
    return _signed_in(tenant.id, slug, user, token)


def refresh(database: Database, text: str, origin: Origin) -> SignedIn:
    """Exchange a refresh token for the next one; raises Unauthenticated.

    A token that was exchanged before is a stolen one, or its thief came first: the family ends for both.
    """
    token = parse_refresh_token(text)
    if token is None:
        raise _refused()
    following = new_refresh_token(token.tenant_id, token.family_id)
    with database.tenant(token.tenant_id) as connection:
        family = sessions.lock_family(connection, token.tenant_id, token.family_id)
        if family is None or not family.open:
            raise _refused()
        user = users.find(connection, token.tenant_id, family.user_id)
        tenant = tenants.find(connection, token.tenant_id)
        genuine = token.matches(family.current_hash)
        usable = (
            user is not None and user.state == "active" and tenant is not None and tenant.state == "active"
        )
        if genuine and usable:
            sessions.rotate_family(connection, token.tenant_id, token.family_id, following.digest)
        else:
            sessions.revoke_family(connection, token.tenant_id, token.family_id)
            actor = origin.actor(family.user_id, user.email if user else None)
            action = "session.revoke" if genuine else "session.reuse"
            trail.leave(connection, token.tenant_id, actor, Mark(action, f"users/{family.user_id}"))
    # Raised behind the commit: the end of the family must stay.
    if not genuine or user is None or tenant is None or not usable:
        log.warning("refresh_refused", tenant_id=str(token.tenant_id), reused=not genuine)
        raise _refused()
    return _signed_in(token.tenant_id, tenant.slug, user, following)


def _signed_in(tenant_id: UUID, slug: str, user: users.User, token: RefreshToken) -> SignedIn:
    return SignedIn(tenant_id, slug, user.id, user.email, user.roles, token.encode())


def _refused() -> Unauthenticated:
    return Unauthenticated("the refresh token is not valid: sign in again")


def _key(*parts: str) -> str:
    """Return the key under which attempts are counted: a hash, so no address stands in a global relation."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
