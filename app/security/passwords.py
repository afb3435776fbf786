"""Passwords, kept as argon2id hashes."""

from __future__ import annotations

from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's argon2id floor: 19 MiB keeps eight sign-ins at once within 152 MiB.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Return the argon2id hash of `password`, its salt and costs included."""
    return _HASHER.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Tell whether `password` made `password_hash`.

    Without a hash (no such user) the same work is done on a hash of nothing, so that an answer's delay does
    not tell who has an account.
    """
    try:
        _HASHER.verify(password_hash or _unmatchable(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


def needs_rehash(password_hash: str) -> bool:
    """Tell whether the hash was made with other costs than today's."""
    return _HASHER.check_needs_rehash(password_hash)


@cache
def _unmatchable() -> str:
    return _HASHER.hash("")
