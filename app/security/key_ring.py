"""The key-encryption keys of an installation: the newest seals, the others only open."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from app.domain.errors import Unavailable


class KeyMissing(Unavailable):
    """Something was sealed under a key that this process was not given; `key_id` names it."""

    def __init__(self, key_id: str, known: tuple[str, ...]) -> None:
        super().__init__(
            "key", f"the key-encryption key {key_id} is not in SECRETS_KEY_FILE, which has {', '.join(known)}"
        )
        self.code = "key_missing"
        self.key_id = key_id


@dataclass(frozen=True, slots=True)
class KeyRing:
    """One or more keys of 32 bytes, the newest first."""

    keys: tuple[bytes, ...] = field(repr=False)

    @property
    def newest(self) -> bytes:
        """The key under which everything new is sealed."""
        return self.keys[0]

    @property
    def newest_id(self) -> str:
        """The name of the newest key."""
        return key_id(self.newest)

    @property
    def ids(self) -> tuple[str, ...]:
        """The names of all keys, the newest first."""
        return tuple(map(key_id, self.keys))

    def key(self, wanted: str) -> bytes:
        """Return the key of that name; raises KeyMissing."""
        for key in self.keys:
            if key_id(key) == wanted:
                return key
        raise KeyMissing(wanted, self.ids)


def key_id(key: bytes) -> str:
    """Return the name of a key, which tells nothing about it."""
    return hashlib.sha256(b"quantum kek id" + key).hexdigest()[:16]
