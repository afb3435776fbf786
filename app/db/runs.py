"""Runs: looked up, steered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, TextClause, text

from app.domain.documents import dump, printable
from app.domain.runs import Run

_RUN: Final = text(
    "SELECT id, intent_id, generation, type_name, state, workflow_name, workflow_version, plan_hash,"
    " priority, round, open_steps, failed_steps, error, version, created_at, started_at, finished_at,"
    " tenant_id, pool, admitted_at, concurrency_key, key_limit, held_by_key,"
    " deadline_at, begin_by, compensation, parent_run_id, parent_step, depth, trace"
    " FROM runs WHERE tenant_id = :tenant AND id = :run"
)
_RETRY: Final = text("SELECT verdict FROM retry_run(:tenant, :run, CAST(:actor AS jsonb), :version, :step)")
_PAUSE: Final = text("SELECT pause_run(:tenant, :run, CAST(:actor AS jsonb), :version, :reason)")
_RESUME: Final = text("SELECT resume_run(:tenant, :run, CAST(:actor AS jsonb), :version)")
_SKIP: Final = text("SELECT skip_step(:tenant, :run, :step, CAST(:actor AS jsonb), :version, :reason)")
_RERUN: Final = text(
    "SELECT rerun_run(:tenant, :run, CAST(:actor AS jsonb), :version, :new, CAST(:spec AS jsonb), :hash,"
    " CAST(:concurrency AS jsonb))"
)
_CANCEL: Final = text(
    "SELECT verdict FROM cancel_run(:tenant, :run, CAST(:actor AS jsonb), :version, :reason, :compensate)"
)


def find(connection: Connection, tenant_id: UUID, run_id: UUID) -> Run | None:
    """Return the run, None when this tenant has no such run."""
    row = connection.execute(_RUN, {"tenant": tenant_id, "run": run_id}).first()
    return Run(*row) if row is not None else None


def retry_run(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    step: str | None = None,
) -> tuple[str, Run | None]:
    """Start the next round of a failed run, from a step if one is named.

    Verdicts: ok, conflict, illegal, not_found, occupied (the intent has another open run), no_step, held_back
    (an earlier step failed), undone (the run was compensated, so no single step can be named).
    `version` None means whichever the run has. The run comes as it is then.
    """
    return _steered(connection, _RETRY, tenant_id, run_id, actor, version, step=step)


def pause_run(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    reason: str | None,
) -> tuple[str, Run | None]:
    """Let nothing more of the run begin; verdicts: ok (paused already, too), conflict, illegal, not_found."""
    return _steered(connection, _PAUSE, tenant_id, run_id, actor, version, reason=printable(reason))


def resume_run(
    connection: Connection, tenant_id: UUID, run_id: UUID, actor: Mapping[str, Any], version: int | None
) -> tuple[str, Run | None]:
    """Put a paused run under way again; verdicts as `pause_run`."""
    return _steered(connection, _RESUME, tenant_id, run_id, actor, version)


def skip_step(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    step: str,
    actor: Mapping[str, Any],
    version: int | None,
    reason: str,
) -> tuple[str, Run | None]:
    """End a step without running it; verdicts: ok, conflict, not_found, no_step, illegal_step, occupied."""
    return _steered(connection, _SKIP, tenant_id, run_id, actor, version, step=step, reason=printable(reason))


def rerun_run(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    new_run_id: UUID,
    spec: tuple[Any, str] | None,
    concurrency: Mapping[str, Any] | None = None,
) -> tuple[str, Run | None]:
    """Start a new run of an ended run's plan, with another spec plus its hash if given; return the new run.

    `concurrency` is the key that another spec gives, as items of `declare_intents` have it.

    Verdicts: ok, conflict, illegal, not_found, occupied.
    """
    document, spec_hash = (dump(spec[0]), spec[1]) if spec is not None else (None, None)
    values = {"new": new_run_id, "spec": document, "hash": spec_hash}
    values["concurrency"] = dump(dict(concurrency)) if concurrency is not None else None
    verdict, run = _steered(connection, _RERUN, tenant_id, run_id, actor, version, **values)
    return verdict, find(connection, tenant_id, new_run_id) if verdict == "ok" else run


def cancel_run(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    reason: str | None,
    compensate: bool = False,
) -> tuple[str, Run | None]:
    """Cancel a run that is under way, and undo what it completed if asked to.

    Verdicts as `retry_run`, and ok when it is cancelling already.
    """
    why = printable(reason)
    return _steered(connection, _CANCEL, tenant_id, run_id, actor, version, reason=why, compensate=compensate)


def _steered(
    connection: Connection,
    statement: TextClause,
    tenant_id: UUID,
    run_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    **more: Any,
) -> tuple[str, Run | None]:
    """Return the verdict of a steering function with the run as it is after the call."""
    values = {"tenant": tenant_id, "run": run_id, "actor": dump(dict(actor)), "version": version, **more}
    verdict = str(connection.execute(statement, values).scalar_one())
    return verdict, find(connection, tenant_id, run_id)
