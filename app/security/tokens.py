"""Refresh tokens, whose families are rows of the tenant."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

ISSUER: Final = "quantum-platform"
ACCESS_LIFETIME: Final = timedelta(minutes=15)
REFRESH_LIFETIME: Final = timedelta(days=14)
CLOCKS_APART: Final = timedelta(seconds=10)
"""How much the clocks of two hosts may differ, of which one makes a token, the other reads it."""
_PREFIX: Final = "qpr1"
_PARTS: Final = 4


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One refresh token: its family's place in clear, beside a secret that is used once."""

    tenant_id: UUID
    family_id: UUID
    secret: str = field(repr=False)

    def encode(self) -> str:
        """Return the token as the client keeps it."""
        return f"{_PREFIX}.{self.tenant_id.hex}.{self.family_id.hex}.{self.secret}"

    @property
    def session_id(self) -> UUID:
        """What access tokens call the session: the family's place stays with whoever holds this token."""
        return UUID(hashlib.sha256(str(self.family_id).encode()).hexdigest()[:32])

    @property
    def digest(self) -> str:
        """The SHA-256 that the family's row keeps; the secret has 256 random bits, so no salt is needed."""
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, digest: str) -> bool:
        """Tell, in constant time, whether `digest` is of this token."""
        return hmac.compare_digest(self.digest, digest)


def new_refresh_token(tenant_id: UUID, family_id: UUID) -> RefreshToken:
    """Return the next token of a family."""
    return RefreshToken(tenant_id, family_id, secrets.token_urlsafe(32))


def parse_refresh_token(text: str) -> RefreshToken | None:
    """Return the token that `text` encodes, or None when it has another form."""
    parts = text.split(".")
    if len(parts) != _PARTS or parts[0] != _PREFIX:
        return None
    try:
        return RefreshToken(UUID(hex=parts[1]), UUID(hex=parts[2]), parts[3])
    except ValueError:
        return None
