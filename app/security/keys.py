"""The signing keys of access tokens, with the secrets derived from them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """One Ed25519 pair; `key_id` names it in each token's header, so that a later key can stand beside it."""

    private: Ed25519PrivateKey = field(repr=False)
    public: Ed25519PublicKey = field(repr=False)
    key_id: str
    derived: bytes = field(repr=False)
    """Signs list cursors, keys the hashes of requests; never leaves the process."""


def signing_keys(seed: bytes) -> SigningKeys:
    """Return the keys that grow from a 32-byte seed; raises ValueError for another length."""
    private = Ed25519PrivateKey.from_private_bytes(seed)
    public = private.public_key()
    raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"quantum api hmac").derive(seed)
    return SigningKeys(private, public, hashlib.sha256(raw).hexdigest()[:16], derived)
