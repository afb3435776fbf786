"""The collection of artifacts that no step holds any more."""

from __future__ import annotations

from functools import partial

from app.db import artifacts
from app.db.engine import Database
from app.domain.artifacts import ArtifactStore
from app.observability.logging import get_log

log = get_log(__name__)

AGE_S = 3600.0
"""Seconds between two looks at the same artifact."""
AT_ONCE = 500
DRAFT_AGE_S = 86_400.0


def collect_artifacts(system: Database, store: ArtifactStore, age_s: float = AGE_S) -> int:
    """Delete what is held by no step's present claim; return how many went.

    Looks at a bounded number each time, the longest unseen first. Safe when two run at once, or beside
    writers. Raises Unavailable.
    """
    gone = 0
    for tenant_id, sha256 in artifacts.unchecked(system, age_s, AT_ONCE):
        delete = partial(store.delete, tenant_id, sha256)
        gone += artifacts.forget_unheld(system, tenant_id, sha256, delete)
    drafts = store.sweep(DRAFT_AGE_S)
    if gone or drafts:
        log.info("artifacts_collected", artifacts=gone, drafts=drafts)
    return gone
