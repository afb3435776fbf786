"""Tenant secrets at rest: AES-256-GCM under a key of the tenant, which is wrapped by a key-encryption key."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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
class SecretBox:
    """Seals and opens under one 32-byte key-encryption key."""

    kek: bytes = field(repr=False)

    @property
    def kek_id(self) -> str:
        """A name of the key-encryption key that tells nothing about it."""
        return hashlib.sha256(b"quantum kek id" + self.kek).hexdigest()[:16]

    def new_tenant_key(self, tenant_id: UUID) -> Sealed:
        """Return a fresh tenant key, wrapped."""
        return _seal(self.kek, AESGCM.generate_key(_KEY_BITS), _key_context(tenant_id))

    def seal(self, tenant_id: UUID, tenant_key: Sealed, name: str, value: str) -> Sealed:
        """Seal `value` so that it opens only as secret `name` of this tenant."""
        return _seal(self._unwrap(tenant_id, tenant_key), value.encode(), _value_context(tenant_id, name))

    def open(self, tenant_id: UUID, tenant_key: Sealed, name: str, sealed: Sealed) -> str:
        """Return the value; raises SecretUnreadable."""
        return _open(self._unwrap(tenant_id, tenant_key), sealed, _value_context(tenant_id, name)).decode()

    def _unwrap(self, tenant_id: UUID, tenant_key: Sealed) -> bytes:
        return _open(self.kek, tenant_key, _key_context(tenant_id))


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
