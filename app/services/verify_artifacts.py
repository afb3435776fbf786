"""The comparison of artifact rows with the store that should keep their contents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.db import artifacts
from app.db.engine import Database
from app.domain.artifacts import ArtifactCorrupt, ArtifactMissing, ArtifactStore, verified

AT_ONCE: Final = 1000
BEGINNING: Final = (UUID(int=0), "")


@dataclass(frozen=True, slots=True)
class LostArtifact:
    """A content that is not in the store as its row says, with the reason."""

    tenant_id: UUID
    sha256: str
    reason: str


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """What the comparison found: of `rows` contents, `collected` have been deleted since, rightly."""

    rows: int
    collected: int
    lost: tuple[LostArtifact, ...]


def verify_artifacts(
    copy: Database, store: ArtifactStore, live: Database | None, *, content: bool
) -> ArtifactReport:
    """Look for every artifact row of `copy` in the store; with `content` read it, compare the hash.

    What the platform at work (`live`) has collected since the copy was made is not lost. Raises Unavailable.
    """
    rows, lost, after = 0, [], BEGINNING
    while page := artifacts.listed(copy, after, AT_ONCE):
        rows += len(page)
        for tenant_id, sha256, size in page:
            reason = _reason(store, tenant_id, sha256, size, content)
            if reason:
                lost.append(LostArtifact(tenant_id, sha256, reason))
        after = page[-1][:2]
    gone = {(each.tenant_id, each.sha256) for each in lost}
    collected = artifacts.collected(live, gone) if live is not None and gone else set()
    left = tuple(each for each in lost if (each.tenant_id, each.sha256) not in collected)
    return ArtifactReport(rows, len(collected), left)


def _reason(store: ArtifactStore, tenant_id: UUID, sha256: str, size: int, content: bool) -> str:
    """Return what is wrong with one content, nothing when it is as its row says."""
    found = store.size(tenant_id, sha256)
    if found is None:
        return "missing"
    if found != size:
        return f"{found} bytes instead of {size}"
    if not content:
        return ""
    try:
        for _ in verified(store.read(tenant_id, sha256), sha256):
            pass
    except ArtifactCorrupt:
        return "damaged"
    except ArtifactMissing:
        return "missing"
    return ""
