"""Runs: looked up, retried, cancelled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.domain.documents import dump, printable
from app.domain.runs import Run

_RUN: Final = text(
    "SELECT id, intent_id, generation, type_name, state, workflow_name, workflow_version, plan_hash,"
    " priority, round, open_steps, failed_steps, error, version, created_at, started_at, finished_at"
    " FROM runs WHERE tenant_id = :tenant AND id = :run"
)
_RETRY: Final = text("SELECT verdict FROM retry_run(:tenant, :run, CAST(:actor AS jsonb), :version)")
_CANCEL: Final = text(
    "SELECT verdict FROM cancel_run(:tenant, :run, CAST(:actor AS jsonb), :version, :reason)"
)
_LABEL: Final = (
    " AND EXISTS (SELECT 1 FROM intent_labels l WHERE l.tenant_id = r.tenant_id"
    " AND l.intent_id = r.intent_id AND l.key = :label_key"
)
_CONDITIONS: Final = {
    "type": " AND r.type_name = :type",
    "created_after": " AND r.created_at > :created_after",
    "created_before": " AND r.created_at < :created_before",
}


def find(connection: Connection, tenant_id: UUID, run_id: UUID) -> Run | None:
    """Return the run, None when this tenant has no such run."""
    row = connection.execute(_RUN, {"tenant": tenant_id, "run": run_id}).first()
    return Run(*row) if row is not None else None


def retry_run(
    connection: Connection, tenant_id: UUID, run_id: UUID, actor: Mapping[str, Any], version: int | None
) -> tuple[str, Run | None]:
    """Start the next round of a failed run; verdicts: ok, conflict, illegal, not_found.

    `version` None means whichever the run has. The run comes as it is after the call.
    """
    values = {"tenant": tenant_id, "run": run_id, "actor": dump(dict(actor)), "version": version}
    verdict = str(connection.execute(_RETRY, values).scalar_one())
    return verdict, find(connection, tenant_id, run_id)


def cancel_run(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    reason: str | None,
) -> tuple[str, Run | None]:
    """Cancel a run that is under way; verdicts as `retry_run`, and ok when it is cancelling already."""
    values = {
        "tenant": tenant_id,
        "run": run_id,
        "actor": dump(dict(actor)),
        "version": version,
        "reason": printable(reason),
    }
    verdict = str(connection.execute(_CANCEL, values).scalar_one())
    return verdict, find(connection, tenant_id, run_id)


def failed_runs(
    connection: Connection, tenant_id: UUID, wanted: Mapping[str, Any], limit: int
) -> tuple[int, list[UUID]]:
    """Return how many failed runs fit `wanted`, with the oldest ids.

    `wanted` may hold type, label (key or key=value), created_after, created_before.
    """
    where = "r.tenant_id = :tenant AND r.state = 'failed'"
    values: dict[str, Any] = {"tenant": tenant_id}
    for name, condition in _CONDITIONS.items():
        if wanted.get(name) is not None:
            where, values[name] = where + condition, wanted[name]
    if wanted.get("label") is not None:
        key, separator, value = wanted["label"].partition("=")
        where += _LABEL + (" AND l.value = :label_value)" if separator else ")")
        values |= {"label_key": key, "label_value": value}
    # The conditions are constants of this module; what a caller gives goes as parameters.
    matched = connection.execute(text(f"SELECT count(*) FROM runs r WHERE {where}"), values).scalar_one()  # noqa: S608 - see above
    rows = connection.execute(
        text(f"SELECT r.id FROM runs r WHERE {where} ORDER BY r.id LIMIT :limit"),  # noqa: S608 - see above
        {**values, "limit": limit},
    )
    return int(matched), [row[0] for row in rows]
