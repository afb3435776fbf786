"""The authentication codes of the audit chain, under a key that the database never sees."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

BEGINNING: Final = bytes(32)
"""What stands for the seal before the first one."""


@dataclass(frozen=True, slots=True)
class AuditKey:
    """Derives each tenant's key by HKDF (RFC 5869) from the key-encryption key."""

    kek: bytes = field(repr=False)

    @property
    def key_id(self) -> str:
        """A name of the key that tells nothing about it."""
        return hashlib.sha256(b"quantum audit key id" + self.kek).hexdigest()[:16]

    def mac(self, tenant_id: UUID, seq: int, previous: bytes, records: int, digest: bytes) -> bytes:
        """Return the HMAC-SHA-256 of one seal: its place, its records, the seal before it."""
        key = HKDF(SHA256(), 32, salt=None, info=b"audit chain/" + tenant_id.bytes).derive(self.kek)
        text = b"%d|%d|" % (seq, records) + previous + digest
        return hmac.new(key, text, hashlib.sha256).digest()
