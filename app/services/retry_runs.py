"""The operator's retry by filter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.db import runs
from app.domain.errors import QuantumError
from app.domain.identity import Actor
from app.services.retry_run import retry_run
from app.services.submit import SubmitDeps


def retry_runs(
    deps: SubmitDeps, actor: Actor, wanted: Mapping[str, Any], limit: int, *, dry_run: bool
) -> dict[str, Any]:
    """Retry up to `limit` failed runs that `wanted` matches, each in a commit of its own; oldest first.

    With `dry_run` nothing changes. `matched` counts all matching runs, `items` tells what became of each.
    """
    with deps.engine.database.tenant(actor.tenant_id) as connection:
        matched, ids = runs.failed_runs(connection, actor.tenant_id, wanted, limit)
    if dry_run:
        return {"matched": matched, "retried": 0, "items": []}
    items = [_retried(deps, actor, run_id) for run_id in ids]
    return {"matched": matched, "retried": sum(item["error"] is None for item in items), "items": items}


def _retried(deps: SubmitDeps, actor: Actor, run_id: UUID) -> dict[str, Any]:
    try:
        retry_run(deps, actor, run_id)
    except QuantumError as fault:
        return {"run_id": run_id, "error": fault.code}  # another operator was first, or the run went on
    return {"run_id": run_id, "error": None}
