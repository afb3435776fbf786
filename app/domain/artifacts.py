"""Artifacts: content that is too large for a row, named by its hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from app.domain.errors import NotFound, QuantumError

STORE = "artifact store"
"""The part that is named when it is away."""
MEMBER = "$artifact"
VALUE_TYPE = "application/vnd.quantum.value+json"
"""The type of a JSON value that the platform put aside: whoever refers to it gets the value."""
NOWHERE = "0" * 64
"""The hash of a value that nobody can read: outputs of a fan that are too large together."""
INLINE_BYTES = 256 * 1024
"""A JSON value up to this size stays in its row."""
DEFAULT_MAX_BYTES = 64 * 1024 * 1024

SHA256 = re.compile(r"[0-9a-f]{64}")
CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}(;[ -~]{0,64})?")


class ArtifactMissing(NotFound):
    """The store has no such content."""

    default_code = "artifact_missing"


class ArtifactCorrupt(QuantumError):
    """The content is not what its hash says."""

    default_code = "artifact_corrupt"


class ArtifactStoreFull(QuantumError):
    """The store has no room; it may have later."""

    default_code = "artifact_store_full"


class ArtifactStore(Protocol):
    """Keeps contents by tenant with hash; what is put twice is there once."""

    def put(self, tenant_id: UUID, sha256: str, content: bytes) -> None:
        """Keep the content, whole or not at all; raises ArtifactStoreFull, Unavailable."""

    def read(self, tenant_id: UUID, sha256: str) -> Iterator[bytes]:
        """Yield the content piece by piece, as it is; raises ArtifactMissing, Unavailable."""

    def size(self, tenant_id: UUID, sha256: str) -> int | None:
        """Return how many bytes are kept, None when there is no such content; raises Unavailable."""

    def delete(self, tenant_id: UUID, sha256: str) -> None:
        """Forget the content, if it is there; raises Unavailable."""

    def sweep(self, older_s: float) -> int:
        """Remove what writers that died left behind more than `older_s` seconds ago; return how much."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Which content is meant."""

    sha256: str
    bytes: int
    content_type: str

    def as_json(self) -> dict[str, Any]:
        """Return the reference as a row, or an operation's input, holds it."""
        return {MEMBER: {"sha256": self.sha256, "bytes": self.bytes, "content_type": self.content_type}}

    @property
    def is_value(self) -> bool:
        """Whether it stands for a JSON value."""
        return self.content_type == VALUE_TYPE


def as_reference(value: Any) -> Reference | None:
    """Return the reference that a JSON value is, None when it is something else."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    found = value.get(MEMBER)
    if not isinstance(found, Mapping) or found.keys() != {"sha256", "bytes", "content_type"}:
        return None
    sha256, size, kind = found["sha256"], found["bytes"], found["content_type"]
    sound = isinstance(sha256, str) and SHA256.fullmatch(sha256) and isinstance(kind, str)
    if not sound or not isinstance(size, int) or isinstance(size, bool):
        return None
    return Reference(sha256, size, kind)


def verified(pieces: Iterator[bytes], sha256: str) -> Iterator[bytes]:
    """Yield the pieces, the last only when all have the hash: nobody takes broken content for whole.

    Raises ArtifactCorrupt instead of yielding it.
    """
    seen = hashlib.sha256()
    held = b""
    for piece in pieces:
        if held:
            yield held
        seen.update(piece)
        held = piece
    if seen.hexdigest() != sha256:
        raise ArtifactCorrupt(f"the content of artifact {sha256} is damaged")
    if held:
        yield held
