"""Files sealed piece by piece: AES-256-GCM in the STREAM construction, so that a cut end shows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC: Final = b"QPSTREAM1\n"
PIECE: Final = 1024 * 1024
_SALT: Final = 32
_PREFIX: Final = 7
_TAG: Final = 16


class Source(Protocol):
    """What a sealed file is read from."""

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, fewer only at the end."""


class SealBroken(ValueError):
    """The file was sealed with another key, was changed, or was cut."""


def sealed(pieces: Iterable[bytes], key: bytes, salt: bytes | None = None) -> Iterator[bytes]:
    """Yield what to write: a header with a salt, then each piece with its tag; the last one is marked.

    The file's key is derived from `key` with the salt; nonces count up, so pieces cannot change places.
    """
    salt = salt or os.urandom(_SALT + _PREFIX)
    header = MAGIC + salt
    yield header
    cipher = _cipher(key, salt)
    number, held = 0, bytearray()
    for piece in pieces:
        held += piece
        while len(held) > PIECE:
            yield cipher.encrypt(_nonce(salt, number, last=False), bytes(held[:PIECE]), header)
            del held[:PIECE]
            number += 1
    yield cipher.encrypt(_nonce(salt, number, last=True), bytes(held), header)


def unsealed(source: Source, key: bytes) -> Iterator[bytes]:
    """Yield the pieces of a sealed file; raises SealBroken at the first that is not as it was written."""
    header = source.read(len(MAGIC) + _SALT + _PREFIX)
    if not header.startswith(MAGIC) or len(header) < len(MAGIC) + _SALT + _PREFIX:
        raise SealBroken("this is no sealed file")
    salt = header[len(MAGIC) :]
    cipher = _cipher(key, salt)
    piece, number = source.read(PIECE + _TAG), 0
    while True:
        following = source.read(PIECE + _TAG)
        try:
            yield cipher.decrypt(_nonce(salt, number, last=not following), piece, header)
        except InvalidTag as broken:
            raise SealBroken("sealed with another key, changed, or cut") from broken
        if not following:
            return
        piece, number = following, number + 1


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=salt[:_SALT], info=b"quantum sealed stream").derive(key))


def _nonce(salt: bytes, number: int, *, last: bool) -> bytes:
    return salt[_SALT:] + number.to_bytes(4, "big") + bytes([last])
