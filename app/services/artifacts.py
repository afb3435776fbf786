"""Whatever is too large for a row: put aside, brought back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from app.db import artifacts
from app.db.engine import Database
from app.domain.artifacts import (
    CONTENT_TYPE,
    DEFAULT_MAX_BYTES,
    INLINE_BYTES,
    NOWHERE,
    VALUE_TYPE,
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStore,
    ArtifactStoreFull,
    Reference,
    as_reference,
    verified,
)
from app.domain.documents import dump
from app.domain.errors import OperationFailed
from app.domain.leases import StepMessage
from app.observability.masking import holds_secret


@dataclass(frozen=True, slots=True)
class Artifacts:
    """The store with what a single artifact may measure, in bytes."""

    store: ArtifactStore
    max_bytes: int = DEFAULT_MAX_BYTES

    def stream(self, tenant_id: UUID, reference: Reference) -> Iterator[bytes]:
        """Yield the content verified, in pieces; raises ArtifactMissing, Unavailable before the first."""
        return verified(self.store.read(tenant_id, reference.sha256), reference.sha256)

    def read(self, tenant_id: UUID, reference: Reference) -> bytes:
        """Return the content; raises OperationFailed when it is gone, damaged, too large; Unavailable."""
        try:
            if reference.bytes > self.max_bytes:
                raise _too_large("the artifact", reference.bytes, self.max_bytes)
            return b"".join(self.stream(tenant_id, reference))
        except (ArtifactMissing, ArtifactCorrupt) as fault:
            raise OperationFailed(fault.code, fault.message, retryable=False) from fault

    def opened(self, tenant_id: UUID, context: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the context of a step with the values of what was put aside, also within a fan's outputs.

        What expressions of one step refer to may measure `max_bytes` in all. Raises as `read` does.
        """
        steps, own = context.get("steps") or {}, context.get("output")  # a compensation sees its step's own
        if not _refers(own) and not any(_refers(step.get("output")) for step in steps.values()):
            return context
        left = _Allowance(self, tenant_id)
        opened = {key: {**step, "output": left.value(step.get("output"))} for key, step in steps.items()}
        return {**context, "steps": opened, "output": left.value(own)}


@dataclass(slots=True)
class _Allowance:
    artifacts: Artifacts
    tenant_id: UUID
    taken: int = 0

    def value(self, output: Any) -> Any:
        if isinstance(output, list):
            return [self.value(item) if as_reference(item) else item for item in output]
        reference = as_reference(output)
        if reference is None or not reference.is_value:
            return output
        self.taken += reference.bytes
        if self.taken > self.artifacts.max_bytes or reference.sha256 == NOWHERE:
            raise _too_large("what the step refers to", self.taken, self.artifacts.max_bytes)
        return json.loads(self.artifacts.read(self.tenant_id, reference))


@dataclass(frozen=True, slots=True)
class StepArtifacts:
    """The artifacts of one attempt, also as its operation reaches them."""

    artifacts: Artifacts
    database: Database
    message: StepMessage
    tries: int
    secrets: Collection[str] = ()

    def aside(self, what: str, value: Any) -> Any:
        """Return the value, or, when it is too large for a row, a reference to where it was put.

        Raises OperationFailed when it is too large for an artifact or the store is full; Unavailable.
        """
        try:
            text = dump(value)
        except (ValueError, TypeError, RecursionError):
            return value  # no JSON: the end of the step says so
        if len(text) <= INLINE_BYTES:
            return value
        return self._keep(what, text.encode(), VALUE_TYPE)

    def put(self, content: bytes | Path, content_type: str = "application/octet-stream") -> dict[str, Any]:
        """Keep the content, or that of the file; return the reference, to be part of the output.

        Raises OperationFailed: `artifact_type`, `output_too_large`, `secret_in_artifact`,
        `artifact_store_full` (retryable). Raises Unavailable.
        """
        if not CONTENT_TYPE.fullmatch(content_type) or content_type == VALUE_TYPE:
            raise OperationFailed("artifact_type", f"{content_type!r} is no content type", retryable=False)
        if isinstance(content, Path):
            size = content.stat().st_size
            if size > self.artifacts.max_bytes:
                raise _too_large("the artifact", size, self.artifacts.max_bytes)
            content = content.read_bytes()
        if holds_secret(content, self.secrets):
            # It cannot be masked as text is: the content would no longer be what the operation made.
            raise OperationFailed(
                "secret_in_artifact", "the artifact holds a secret of the step", retryable=False
            )
        return self._keep("the artifact", content, content_type)

    def read(self, reference: Mapping[str, Any]) -> bytes:
        """Return the content that `{"$artifact": …}` means; raises OperationFailed, Unavailable."""
        found = as_reference(reference)
        if found is None:
            raise OperationFailed("artifact_missing", "this is no reference to an artifact", retryable=False)
        return self.artifacts.read(self.message.tenant_id, found)

    def _keep(self, what: str, content: bytes, content_type: str) -> dict[str, Any]:
        if len(content) > self.artifacts.max_bytes:
            raise _too_large(what, len(content), self.artifacts.max_bytes)
        reference = Reference(hashlib.sha256(content).hexdigest(), len(content), content_type)
        # The hold comes first: from now on the collector leaves the content alone.
        if artifacts.hold(self.database, self.message, self.tries, reference):
            try:
                self.artifacts.store.put(self.message.tenant_id, reference.sha256, content)
            except ArtifactStoreFull as fault:
                raise OperationFailed(fault.code, fault.message, retryable=True) from fault
        return reference.as_json()


def _refers(output: Any) -> bool:
    if isinstance(output, list):
        return any(as_reference(item) for item in output)
    return as_reference(output) is not None


def _too_large(what: str, size: int, limit: int) -> OperationFailed:
    message = f"{what} measures {size} bytes, {limit} are allowed"
    return OperationFailed("output_too_large", message, retryable=False)
