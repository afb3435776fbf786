"""The authentication codes of the audit chain, under keys that the database never sees."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.security.key_ring import KeyRing

BEGINNING: Final = bytes(32)
"""What stands for the seal before the first one."""


@dataclass(frozen=True, slots=True)
class AuditKey:
    """Derives each tenant's key by HKDF (RFC 5869) from a key-encryption key: new seals from the newest."""

    ring: KeyRing

    @property
    def key_id(self) -> str:
        """The name of the key under which new seals are made."""
        return self.ring.newest_id

    def mac(
        self, key_id: str, tenant_id: UUID, seq: int, previous: bytes, records: int, digest: bytes
    ) -> bytes:
        """Return the HMAC-SHA-256 of a seal: its place, its records, the seal before; raises KeyMissing."""
        kek = self.ring.key(key_id)
        key = HKDF(SHA256(), 32, salt=None, info=b"audit chain/" + tenant_id.bytes).derive(kek)
        text = b"%d|%d|" % (seq, records) + previous + digest
        return hmac.new(key, text, hashlib.sha256).digest()
