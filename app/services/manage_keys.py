"""The key-encryption keys in the hands of the platform's operators: counted, replaced, given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from app.db import keys, trail
from app.db import secrets as store
from app.db.engine import Connection, Database
from app.db.signing_secrets import OF_TRIGGERS, OF_WEBHOOKS
from app.db.trail import Mark
from app.domain.errors import Conflict
from app.domain.identity import Actor
from app.observability.logging import get_log
from app.security.secret_box import SecretBox, SecretUnreadable
from app.services.manage_secrets import as_row, wrapped_key

log = get_log(__name__)

SUBJECT: Final = "secrets"
"""Of what is audited about a tenant's key."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key-encryption key: `state` is newest, older, or missing from this process's key file."""

    key_id: str
    state: str
    tenant_keys: int
    sealed_until: datetime | None
    """When the latest seal of the audit trail was made under it, None for no seal."""


@dataclass(frozen=True, slots=True)
class Rewrap:
    """What a batch did: `remaining` tenant keys hang on older keys still, `missing` on keys not at hand.

    Those that were `unreadable` in this batch are among the remaining: somebody changed them.
    """

    newest: str
    rewrapped: int
    remaining: int
    missing: int
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Abandonment:
    """What a batch gave up: `secrets` of `tenants`; `remaining` tenants hang on the lost key still."""

    key_id: str
    tenants: int
    secrets: int
    remaining: int


def list_keys(platform: Database, box: SecretBox) -> list[KeyUse]:
    """Return the keys at hand, the newest first, then those that rows name beside; raises Unavailable."""
    counts, seals = keys.tenant_keys(platform), keys.last_seals(platform)
    known = box.ring.ids
    states = {key_id: "newest" if key_id == box.ring.newest_id else "older" for key_id in known}
    missing = sorted({*counts, *seals} - set(known))
    return [
        KeyUse(key_id, states.get(key_id, "missing"), counts.get(key_id, 0), seals.get(key_id))
        for key_id in (*known, *missing)
    ]


def rewrap_keys(
    box: SecretBox, platform: Database, database: Database, actor: Actor, limit: int, *, dry_run: bool
) -> Rewrap:
    """Wrap at most `limit` tenant keys anew under the newest key; raises Unavailable.

    One commit a tenant, each with its audit record: a call that is cut short is gone on with by the next, two
    at once share the work. The tenants' keys themselves stay, so no secret is touched. `dry_run` only counts.
    """
    older = box.ring.ids[1:]
    rewrapped = unreadable = 0
    for tenant_id in [] if dry_run else keys.tenants_under(platform, older, limit):
        try:
            with database.tenant(tenant_id) as connection:
                rewrapped += _rewrap(box, connection, actor, tenant_id)
        except SecretUnreadable:
            # One row that somebody changed must not keep the others under the old key.
            log.exception("tenant_key_unreadable", tenant_id=str(tenant_id))
            unreadable += 1
    counts = keys.tenant_keys(platform)
    remaining = sum(counts.get(key_id, 0) for key_id in older)
    missing = sum(count for key_id, count in counts.items() if key_id not in box.ring.ids)
    if rewrapped:
        detail = {"key": box.ring.newest_id, "rewrapped": rewrapped, "remaining": remaining}
        _note(platform, actor, Mark("keys.rewrap", "platform", detail=detail))
    return Rewrap(box.ring.newest_id, rewrapped, remaining, missing, unreadable)


def abandon_key(
    box: SecretBox,
    platform: Database,
    database: Database,
    actor: Actor,
    key_id: str,
    limit: int,
    reason: str,
    *,
    dry_run: bool,
) -> Abandonment:
    """Give up what a lost key wraps, for at most `limit` tenants; raises Conflict when it is not lost.

    Each of these tenants gets a fresh key and loses its secrets, those that sign webhooks or trigger messages
    too, for good: nobody can open them. One commit a tenant, audited in its trail with the names; each secret
    is told as changed. `dry_run` only counts tenants.
    """
    if key_id in box.ring.ids:
        raise Conflict(f"the key {key_id} is not lost: rewrap what hangs on it", "key_at_hand")
    tenants = secrets = 0
    for tenant_id in [] if dry_run else keys.tenants_under(platform, [key_id], limit):
        with database.tenant(tenant_id) as connection:
            lost = _abandon(box, connection, actor, tenant_id, key_id, reason)
        tenants, secrets = tenants + (lost is not None), secrets + (lost or 0)
    remaining = keys.tenant_keys(platform).get(key_id, 0)
    if tenants:
        detail = {"key": key_id, "tenants": tenants, "secrets": secrets, "reason": reason}
        _note(platform, actor, Mark("keys.abandon", "platform", detail=detail))
    return Abandonment(key_id, tenants, secrets, remaining)


def _rewrap(box: SecretBox, connection: Connection, actor: Actor, tenant_id: UUID) -> bool:
    old = wrapped_key(connection, tenant_id)
    if old is None or old.kek_id == box.ring.newest_id:
        return False  # somebody was faster
    new = box.rewrap(tenant_id, old)
    if not store.replace_tenant_key(connection, tenant_id, as_row(old), as_row(new)):
        return False
    detail = {"from": old.kek_id, "to": new.kek_id}
    trail.leave(connection, tenant_id, actor.as_json(), Mark("secret_key.rewrap", SUBJECT, detail=detail))
    return True


def _abandon(
    box: SecretBox, connection: Connection, actor: Actor, tenant_id: UUID, key_id: str, reason: str
) -> int | None:
    """Return how many secrets the tenant lost, None when its key was not the lost one any more."""
    old = wrapped_key(connection, tenant_id)
    if old is None or old.kek_id != key_id:
        return None
    new = box.new_tenant_key(tenant_id)
    if not store.replace_tenant_key(connection, tenant_id, as_row(old), as_row(new)):
        return None
    names = store.delete_all(connection, tenant_id)
    webhooks = OF_WEBHOOKS.delete_all(connection, tenant_id)
    triggers = OF_TRIGGERS.delete_all(connection, tenant_id)
    who = actor.as_json()
    for name, version in sorted(names.items()):
        told = {"name": name, "version": version}
        trail.leave(
            connection, tenant_id, who, Mark("secret.lost", f"secrets/{name}", "secret.changed", told)
        )
    detail = {"from": key_id, "to": new.kek_id, "reason": reason, "secrets": sorted(names)}
    owners = {"webhooks": [str(each) for each in webhooks], "triggers": [str(each) for each in triggers]}
    mark = Mark("secret_key.abandon", SUBJECT, detail={**detail, **owners})
    trail.leave(connection, tenant_id, who, mark)
    return len(names) + len(webhooks) + len(triggers)


def _note(platform: Database, actor: Actor, mark: Mark) -> None:
    with platform.system() as connection:
        trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
