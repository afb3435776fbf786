"""The keeping of tenant secrets, with the reader that workers resolve them by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from app.db import caps, trail
from app.db import secrets as store
from app.db.engine import Connection, Database
from app.db.secrets import SealedSecret, SecretName, Wrapped
from app.db.trail import Mark
from app.domain.errors import NotFound, OperationFailed, PreconditionFailed
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.security.key_ring import KeyMissing
from app.security.secret_box import Sealed, SecretBox, TenantKey
from app.services.resolve_secrets import SecretReader


def put_secret(
    box: SecretBox, database: Database, actor: Actor, name: str, value: str, version: int | None
) -> SecretName:
    """Set a secret; raises PreconditionFailed when it is not at a given `version`, KeyMissing, CapReached."""
    with (
        database.tenant(actor.tenant_id) as connection,
        caps.room(connection, actor.tenant_id, "secrets"),
    ):
        _expect(store.lock(connection, actor.tenant_id, name), version)
        key = tenant_key(connection, box, actor.tenant_id)
        sealed = box.seal(actor.tenant_id, key, name, value)
        kept = store.put(
            connection, actor.tenant_id, name, SealedSecret(sealed.nonce, sealed.ciphertext), actor.user_id
        )
        _mark(connection, actor, "secret.put", name, kept.version)
    return kept


def list_secrets(database: Database, actor: Actor, wanted: PageRequest) -> Page[SecretName]:
    """Return the names of the tenant's secrets."""
    with database.tenant(actor.tenant_id) as connection:
        return store.page(connection, actor.tenant_id, wanted)


def delete_secret(database: Database, actor: Actor, name: str, version: int | None) -> None:
    """Delete a secret; raises NotFound, or PreconditionFailed."""
    with database.tenant(actor.tenant_id) as connection:
        present = store.lock(connection, actor.tenant_id, name)
        if present is None:
            raise NotFound("no such secret")
        _expect(present, version)
        store.delete(connection, actor.tenant_id, name)
        _mark(connection, actor, "secret.delete", name, present.version)


def secret_reader(box: SecretBox, database: Database) -> SecretReader:
    """Return the function by which a worker decrypts secrets of its tenant.

    It raises OperationFailed (`key_missing`, retryable: another worker may have the key) instead of
    KeyMissing, for which the worker would wait as for a database that is away.
    """

    def read(tenant_id: UUID, names: Sequence[str]) -> Mapping[str, str]:
        with database.tenant(tenant_id) as connection:
            key = wrapped_key(connection, tenant_id)
            found = store.sealed(connection, tenant_id, names)
        if key is None:
            return {}
        try:
            return {
                name: box.open(tenant_id, key, name, Sealed(each.nonce, each.ciphertext))
                for name, each in found.items()
            }
        except KeyMissing as missing:
            raise OperationFailed(missing.code, missing.message) from missing

    return read


def tenant_key(connection: Connection, box: SecretBox, tenant_id: UUID) -> TenantKey:
    """Return the tenant's wrapped key, made at the first secret; it stays the tenant's until the commit."""
    key = wrapped_key(connection, tenant_id, held=True)
    if key is None:
        store.add_tenant_key(connection, tenant_id, as_row(box.new_tenant_key(tenant_id)))
        # Read again: the key of a transaction that was faster is the one that stays.
        key = wrapped_key(connection, tenant_id, held=True)
    if key is None:
        raise LookupError("the tenant key that was just written cannot be read")
    return key


def wrapped_key(connection: Connection, tenant_id: UUID, *, held: bool = False) -> TenantKey | None:
    """Return the tenant's wrapped key, if it has one yet; `held` keeps it the tenant's until the commit."""
    key = store.tenant_key(connection, tenant_id, held=held)
    return TenantKey(key.kek_id, Sealed(key.nonce, key.wrapped_key)) if key is not None else None


def as_row(key: TenantKey) -> Wrapped:
    """Return a wrapped key as the store keeps it."""
    return Wrapped(key.kek_id, key.wrapped.nonce, key.wrapped.ciphertext)


def _expect(present: SecretName | None, version: int | None) -> None:
    if version is not None and (present is None or present.version != version):
        raise PreconditionFailed(f"the secret is at version {present.version if present else 0}")


def _mark(connection: Connection, actor: Actor, action: str, name: str, version: int) -> None:
    mark = Mark(action, f"secrets/{name}", "secret.changed", {"name": name, "version": version})
    trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
