"""Sessions: opened by password, kept by rotating refresh tokens, ended by their owner."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.db import sessions, tenants, trail, users
from app.db.engine import Connection, Database
from app.db.ids import new_id
from app.db.trail import Mark
from app.domain.caps import MOST_SESSIONS
from app.domain.errors import InvalidInput, RateLimited, Unauthenticated
from app.domain.identity import Actor
from app.domain.sources import source_of
from app.observability.logging import get_log
from app.security.passwords import hash_password, needs_rehash, verify_password
from app.security.tokens import REFRESH_LIFETIME, RefreshToken, new_refresh_token, parse_refresh_token

FAILURES_PER_PAIR: Final = 10
"""From one source at one account: whoever guesses there locks himself out, not the account's owner."""
FAILURES_PER_ACCOUNT: Final = 100
"""From all sources together: it takes ten of them to lock an owner out."""
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
    """Who signed in, with the refresh token of this session, which is a family of them."""

    session_id: UUID
    tenant_id: UUID
    tenant_slug: str
    user_id: UUID
    email: str
    roles: frozenset[str]
    refresh_token: str = field(repr=False)


def sign_in(database: Database, slug: str, email: str, password: str, origin: Origin) -> SignedIn:
    """Return a new session of the user; raises Unauthenticated, or RateLimited after too many failures.

    The attempt is recorded before it is judged, so that parallel guesses cannot slip below the limit; one
    that its own source's limit refuses does not count against the account. Tenant, user or password being
    wrong gives one answer after the same work.
    """
    email = email.lower()
    attempt = _attempt(database, slug, email, origin)
    with database.anonymous() as connection:
        tenant = tenants.resolve(connection, slug)
    user = None
    if tenant is not None and tenant.state == "active":
        with database.tenant(tenant.id) as connection:
            user = users.find_by_email(connection, tenant.id, email)
    good = verify_password(user.password_hash if user else None, password)
    if tenant is None or user is None or not good or user.state != "active":
        raise _wrong(slug)
    token = new_refresh_token(tenant.id, new_id())
    with database.tenant(tenant.id) as connection:
        # It was judged without a lock, which takes long: one that was replaced meanwhile opens nothing.
        held = users.find(connection, tenant.id, user.id, lock=True)
        if held is None or held.state != "active" or not _still(user, held, password):
            raise _wrong(slug)
        ended = _open_session(connection, tenant.id, user.id, token)
        if needs_rehash(held.password_hash):
            users.update(connection, tenant.id, user.id, {"password_hash": hash_password(password)})
        trail.leave(
            connection,
            tenant.id,
            origin.actor(user.id, user.email),
            Mark("session.open", f"users/{user.id}", "session.opened", {"ended": ended} if ended else {}),
        )
        attempt.forgive(connection)
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
            mark = Mark(action, f"users/{family.user_id}", f"{action}d")
            trail.leave(connection, token.tenant_id, actor, mark)
    # Raised behind the commit: the end of the family must stay.
    if not genuine or user is None or tenant is None or not usable:
        log.warning("refresh_refused", tenant_id=str(token.tenant_id), reused=not genuine)
        raise _refused()
    return _signed_in(token.tenant_id, tenant.slug, user, following)


def sign_out(database: Database, text: str, origin: Origin) -> None:
    """End the session that a refresh token belongs to, also one that was exchanged since.

    Its access tokens are good for `standing.KEPT_S` seconds more, at most. What is no token of ours, or of a
    session that has ended, changes nothing.
    """
    token = parse_refresh_token(text)
    if token is None:
        return
    with database.tenant(token.tenant_id) as connection:
        family = sessions.lock_family(connection, token.tenant_id, token.family_id)
        if family is None or not family.open:
            return
        sessions.revoke_family(connection, token.tenant_id, token.family_id)
        user = users.find(connection, token.tenant_id, family.user_id)
        actor = origin.actor(family.user_id, user.email if user else None)
        mark = Mark("session.close", f"users/{family.user_id}", "session.revoked")
        trail.leave(connection, token.tenant_id, actor, mark)


def change_own_password(database: Database, actor: Actor, present: str, wanted: str) -> None:
    """Give the caller a new password; every session of the account ends, this one too.

    Raises InvalidInput when `present` is not its password, RateLimited after too many of those: they count as
    failed sign-ins do, so that a stolen access token is no way to guess.
    """
    if actor.user_id is None:
        raise Unauthenticated("nobody is signed in")
    origin = Origin(actor.request_id, actor.source_ip)
    attempt = _attempt(database, actor.tenant_slug, actor.email.lower(), origin)
    with database.tenant(actor.tenant_id) as connection:
        user = users.find(connection, actor.tenant_id, actor.user_id)
    if user is None or not verify_password(user.password_hash, present):
        raise _not_present()
    password_hash = hash_password(wanted)
    with database.tenant(actor.tenant_id) as connection:
        # Nothing is locked while passwords are hashed, which takes long: whoever was first meanwhile has won.
        held = users.find(connection, actor.tenant_id, user.id, lock=True)
        if held is None or held.password_hash != user.password_hash:
            raise _not_present()
        users.update(connection, actor.tenant_id, user.id, {"password_hash": password_hash})
        sessions.revoke_families_of(connection, actor.tenant_id, user.id)
        mark = Mark("user.change", f"users/{user.id}", "user.changed", {"changed": ["password"]})
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
        attempt.forgive(connection)


def _open_session(connection: Connection, tenant_id: UUID, user_id: UUID, token: RefreshToken) -> int:
    """Add the session that `token` begins; return how many others of the user that ended.

    The user's row is locked: two sign-ins count one after the other.
    """
    sessions.open_family(connection, tenant_id, token.family_id, user_id, token.digest, REFRESH_LIFETIME)
    return sessions.keep_latest(connection, tenant_id, user_id, MOST_SESSIONS)


def _still(judged: users.User, held: users.User, password: str) -> bool:
    """Tell whether the password that was good for `judged` is good for the row as it is now."""
    return held.password_hash == judged.password_hash or verify_password(held.password_hash, password)


def _wrong(slug: str) -> Unauthenticated:
    log.info("sign_in_refused", tenant=slug)
    return Unauthenticated("tenant, email or password is wrong")


def _not_present() -> InvalidInput:
    return InvalidInput.at("/current", "wrong", "this is not the present password")


def _signed_in(tenant_id: UUID, slug: str, user: users.User, token: RefreshToken) -> SignedIn:
    return SignedIn(token.session_id, tenant_id, slug, user.id, user.email, user.roles, token.encode())


def _refused() -> Unauthenticated:
    return Unauthenticated("the refresh token is not valid: sign in again")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One use of a password, as it is counted: for the account at its source, the source, the account."""

    pair: str
    address: str
    account: str

    def forgive(self, connection: Connection) -> None:
        """Forget it, as it ended well."""
        sessions.forgive(connection, self.pair)
        sessions.forgive_one(connection, self.address)
        sessions.forgive_one(connection, self.account)


def _attempt(database: Database, slug: str, email: str, origin: Origin) -> _Attempt:
    """Count one use of a password before it is judged; raises RateLimited."""
    source = source_of(origin.source_ip)
    pair, address = _key("pair", slug, email, source), _key("address", source)
    account = _key("user", slug, email)
    _limit(database, {pair: FAILURES_PER_PAIR, address: FAILURES_PER_ADDRESS})
    _limit(database, {account: FAILURES_PER_ACCOUNT})
    return _Attempt(pair, address, account)


def _limit(database: Database, limits: Mapping[str, int]) -> None:
    """Count one attempt under each key; raises RateLimited when one has more than its limit."""
    keys = list(limits)
    # Two commits: each of several parallel attempts must see the others before it is judged.
    with database.anonymous() as connection:
        sessions.note_attempts(connection, keys, 2 * max(limits.values()))
    with database.anonymous() as connection:
        counts = sessions.count_attempts(connection, keys)
    if any(counts.get(key, 0) > limit for key, limit in limits.items()):
        raise RateLimited("too many failed sign-ins: try again later", RETRY_AFTER_S)


def _key(*parts: str) -> str:
    """Return the key under which attempts are counted: a hash, so no address stands in a global relation."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
