"""The secrets that sign messages of a tenant: made, opened, replaced with an overlap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from uuid import UUID

from app.db.engine import Connection
from app.db.signing_secrets import SealedSigner, SigningSecrets
from app.security.secret_box import Sealed, SecretBox
from app.security.webhook_signature import new_secret
from app.services.manage_secrets import tenant_key, wrapped_key

MAX_SECRETS: Final = 3
"""Of one owner, that sign at the same time."""


def make_secret(
    store: SigningSecrets,
    box: SecretBox,
    new_id: Callable[[], UUID],
    connection: Connection,
    tenant_id: UUID,
    owner: UUID,
) -> str:
    """Keep a fresh secret, sealed; return it, which nobody can do again."""
    secret, secret_id = new_secret(), new_id()
    key = tenant_key(connection, box, tenant_id)
    sealed = box.seal(tenant_id, key, store.name_of(owner, secret_id), secret)
    store.add(connection, tenant_id, owner, SealedSigner(secret_id, sealed.nonce, sealed.ciphertext))
    return secret


def replace_secret(
    store: SigningSecrets,
    box: SecretBox,
    new_id: Callable[[], UUID],
    connection: Connection,
    tenant_id: UUID,
    owner: UUID,
    overlap_s: float,
) -> str:
    """Make a fresh secret; those before it sign for `overlap_s` seconds more."""
    store.end(connection, tenant_id, owner, overlap_s, MAX_SECRETS - 1)
    return make_secret(store, box, new_id, connection, tenant_id, owner)


def present_secrets(
    store: SigningSecrets, box: SecretBox, connection: Connection, tenant_id: UUID, owner: UUID
) -> list[str]:
    """Return the secrets that sign now, the latest first; raises KeyMissing, SecretUnreadable."""
    key = wrapped_key(connection, tenant_id)
    if key is None:
        return []
    return [
        box.open(tenant_id, key, store.name_of(owner, one.id), Sealed(one.nonce, one.ciphertext))
        for one in store.present(connection, tenant_id, owner)
    ]
