"""Tenant secrets at rest: AES-256-GCM under a key of the tenant, which is wrapped by a key-encryption key."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.security.key_ring import KeyRing

_NONCE: Final = 12
_KEY_BITS: Final = 256


class SecretUnreadable(ValueError):
    """A sealed value was made with another key, for another place, or was changed since."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """Ciphertext with its authentication tag, beside the nonce that was used once."""

    nonce: bytes
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TenantKey:
    """A tenant's key, wrapped by the key-encryption key called `kek_id`."""

    kek_id: str
    wrapped: Sealed


@dataclass(frozen=True, slots=True)
class SecretBox:
    """Seals and opens under the keys of a ring: a tenant's key opens under the one that wrapped it."""

    ring: KeyRing

    def new_tenant_key(self, tenant_id: UUID) -> TenantKey:
        """Return a fresh tenant key, wrapped by the newest key."""
        return self._wrap(tenant_id, AESGCM.generate_key(_KEY_BITS))

    def rewrap(self, tenant_id: UUID, key: TenantKey) -> TenantKey:
        """Return the same tenant key, wrapped by the newest key; raises KeyMissing, SecretUnreadable."""
        return self._wrap(tenant_id, self._unwrap(tenant_id, key))

    def seal(self, tenant_id: UUID, tenant_key: TenantKey, name: str, value: str) -> Sealed:
        """Seal `value` so that it opens only as secret `name` of this tenant; raises as `open` does."""
        return _seal(self._unwrap(tenant_id, tenant_key), value.encode(), _value_context(tenant_id, name))

    def open(self, tenant_id: UUID, tenant_key: TenantKey, name: str, sealed: Sealed) -> str:
        """Return the value; raises KeyMissing, SecretUnreadable."""
        return _open(self._unwrap(tenant_id, tenant_key), sealed, _value_context(tenant_id, name)).decode()

    def _wrap(self, tenant_id: UUID, plain: bytes) -> TenantKey:
        return TenantKey(self.ring.newest_id, _seal(self.ring.newest, plain, _key_context(tenant_id)))

    def _unwrap(self, tenant_id: UUID, tenant_key: TenantKey) -> bytes:
        return _open(self.ring.key(tenant_key.kek_id), tenant_key.wrapped, _key_context(tenant_id))


def _key_context(tenant_id: UUID) -> bytes:
    return b"tenant-key/" + tenant_id.bytes


def _value_context(tenant_id: UUID, name: str) -> bytes:
    return b"secret/" + tenant_id.bytes + b"/" + name.encode()


def _seal(key: bytes, plain: bytes, context: bytes) -> Sealed:
    nonce = os.urandom(_NONCE)
    return Sealed(nonce, AESGCM(key).encrypt(nonce, plain, context))


def _open(key: bytes, sealed: Sealed, context: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, context)
    except InvalidTag as wrong:
        raise SecretUnreadable("the value was sealed with another key or for another place") from wrong
