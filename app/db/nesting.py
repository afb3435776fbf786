"""Sub-workflows: runs that are steps of other runs, begun, ended, brought in line with their parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.domain.documents import dump, printable
from app.domain.leases import RunRef

_START: Final = text(
    "SELECT verdict, child, needs_advance"
    " FROM start_child(:tenant, :run, :key, CAST(:spec AS jsonb), :deepest)"
)
_UNDO: Final = text("SELECT verdict, child, needs_advance FROM start_undo(:tenant, :run, :key)")
_ENDED: Final = text(
    "SELECT c.state, c.plan_hash, s.attempt, COALESCE(d.definition -> 'retry', '{}')"
    " FROM runs c"
    " JOIN run_steps s ON s.tenant_id = c.tenant_id AND s.run_id = c.parent_run_id AND s.key = c.parent_step"
    " JOIN runs p ON p.tenant_id = c.tenant_id AND p.id = c.parent_run_id"
    " JOIN plan_steps d ON d.tenant_id = p.tenant_id AND d.plan_hash = p.plan_hash AND d.base = s.base"
    " WHERE c.tenant_id = :tenant AND c.id = :child AND s.state = 'waiting' AND s.not_before IS NULL"
    " AND s.tries = c.parent_try"
    " AND c.state IN ('succeeded', 'failed', 'cancelled', 'superseded')"
)
_END: Final = text(
    "SELECT parent, needs_advance"
    " FROM end_child(:tenant, :child, CAST(:output AS jsonb), CAST(:error AS jsonb), :retry_in)"
)
_CONTEXT: Final = text(
    "SELECT step_context(r, NULL, CAST(:refs AS jsonb), :uses_spec) FROM runs r"
    " WHERE r.tenant_id = :tenant AND r.id = :run"
)
# The open children first, then those that have ended and whose step has not heard of it, or sends them on.
# Tenants take turns: what cannot be brought in line, whatever is wrong with it, keeps nobody else's from it.
_DUE: Final = """
  SELECT tenant_id, id, what FROM (
    SELECT d.*, row_number() OVER (
        PARTITION BY d.tenant_id ORDER BY d.what NOT IN ('cancel', 'pause', 'resume')) AS turn FROM (
    SELECT c.tenant_id, c.id, CASE
        WHEN s.state <> 'waiting' OR s.tries <> c.parent_try OR p.state = 'cancelling'
          THEN CASE WHEN c.state IN ('queued', 'running', 'pausing', 'paused') THEN 'cancel' END
        WHEN p.state IN ('pausing', 'paused') AND c.state IN ('queued', 'running') THEN 'pause'
        WHEN p.state IN ('queued', 'running') AND c.state IN ('pausing', 'paused') AND c.paused_by_parent
          THEN 'resume' END AS what
    FROM runs c
    JOIN runs p ON p.tenant_id = c.tenant_id AND p.id = c.parent_run_id
    JOIN run_steps s ON s.tenant_id = c.tenant_id AND s.run_id = c.parent_run_id AND s.key = c.parent_step
    WHERE c.parent_run_id IS NOT NULL {of_parent}
      AND c.state || '' NOT IN ('succeeded', 'failed', 'cancelled', 'superseded')
    UNION ALL
    SELECT c.tenant_id, c.id, CASE WHEN s.tries = c.parent_try THEN 'tell'
                                   WHEN c.state = 'failed' AND s.undoes IS NULL THEN 'retry' END
    FROM run_steps s
    CROSS JOIN LATERAL (
      SELECT * FROM runs l
      WHERE l.tenant_id = s.tenant_id AND l.parent_run_id = s.run_id AND l.parent_step = s.key
      ORDER BY l.parent_try DESC LIMIT 1
    ) c
    WHERE s.operation = 'workflow' AND s.state || '' = 'waiting' AND NOT s.is_fan AND s.not_before IS NULL
      {of_run}
      AND c.state IN ('succeeded', 'failed', 'cancelled', 'superseded')
    UNION ALL
    SELECT c.tenant_id, c.id, CASE WHEN (c.parent_step, c.parent_try) <> (s.key, s.tries) THEN 'undo' END
    FROM run_steps s
    JOIN runs p ON p.tenant_id = s.tenant_id AND p.id = s.run_id AND p.state = 'compensating'
    JOIN runs c ON c.tenant_id = s.tenant_id AND c.id = child_to_undo(p, s.undoes)
    WHERE s.operation = 'workflow' AND s.state || '' = 'waiting' AND NOT s.is_fan
      AND s.undoes IS NOT NULL {of_run}
    ) d WHERE d.what IS NOT NULL
  ) due ORDER BY turn LIMIT {limit}
"""
# The run of an intent with all below it: an intent has one open run, so what is younger is its.
_FAMILY: Final = text("""
  WITH RECURSIVE up AS (
    SELECT r.id, r.parent_run_id, r.intent_id FROM runs r WHERE r.tenant_id = :tenant AND r.id = :run
    UNION ALL
    SELECT p.id, p.parent_run_id, p.intent_id
    FROM up JOIN runs p ON p.tenant_id = :tenant AND p.id = up.parent_run_id
  )
  SELECT count(*) FROM (
    SELECT FROM up JOIN runs r ON r.tenant_id = :tenant AND r.intent_id = up.intent_id AND r.id >= up.id
    WHERE up.parent_run_id IS NULL LIMIT :most) found
""")
ALL_DUE: Final = _DUE.format(of_parent="", of_run="", limit="%s")
ALL_OF_ONE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of a step that is to be a run: verdicts begun, again, skipped, too_deep, lost."""

    verdict: str
    child: UUID | None
    needs_advance: bool


@dataclass(frozen=True, slots=True)
class EndedChild:
    """A run that has ended, whose parent's step waits for it: in this attempt, under this retry policy."""

    state: str
    plan_hash: str
    attempt: int
    retry: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """The run that went on because a child of it ended; None when nothing waited for the child."""

    parent: UUID | None
    needs_advance: bool


@dataclass(frozen=True, slots=True)
class Due:
    """A child that is not as its parent is; `what` to do: cancel, pause, resume, retry, undo, tell."""

    run: RunRef
    what: str


def start_child(
    connection: Connection,
    tenant_id: UUID,
    run_id: UUID,
    key: str,
    spec: Mapping[str, Any] | None,
    deepest: int,
) -> Begun:
    """Let a ready step become a run with this spec, or skip it when `spec` is None."""
    values = {
        "tenant": tenant_id,
        "run": run_id,
        "key": key,
        "spec": None if spec is None else dump(printable(dict(spec))),
        "deepest": deepest,
    }
    return Begun(*connection.execute(_START, values).one())


def count_family(connection: Connection, tenant_id: UUID, run_id: UUID, most: int) -> int:
    """Return how many runs stand in the tree of this one, its root among them, counted up to `most`."""
    values = {"tenant": tenant_id, "run": run_id, "most": most}
    return int(connection.execute(_FAMILY, values).scalar_one())


def start_undo(connection: Connection, tenant_id: UUID, run_id: UUID, key: str) -> Begun:
    """Let an undoing step wait while its sub-workflow's run is compensated; `again` names that run."""
    return Begun(*connection.execute(_UNDO, {"tenant": tenant_id, "run": run_id, "key": key}).one())


def send_on(connection: Connection, tenant_id: UUID, child_id: UUID) -> bool:
    """Send the failed child of a step that waits again into its next round, or compensate an ended one.

    Tells whether either was due.
    """
    query = text("SELECT retry_child(:tenant, :child) OR undo_child(:tenant, :child)")
    return bool(connection.execute(query, {"tenant": tenant_id, "child": child_id}).scalar())


def find_ended(connection: Connection, tenant_id: UUID, child_id: UUID) -> EndedChild | None:
    """Return the run if it has ended and its parent's step waits for that."""
    row = connection.execute(_ENDED, {"tenant": tenant_id, "child": child_id}).first()
    return EndedChild(*row) if row is not None else None


def end_child(
    connection: Connection,
    tenant_id: UUID,
    child_id: UUID,
    output: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
    retry_in_s: float | None = None,
) -> Told:
    """End the step of a run that has ended, once; `error` tells why its output could not be told.

    With `retry_in_s` the step waits so many seconds instead, then sends the run that failed on.
    """
    values = {
        "tenant": tenant_id,
        "child": child_id,
        "output": None if output is None else dump(printable(dict(output))),
        "error": None if error is None else dump(printable(dict(error))),
        "retry_in": None if retry_in_s is None else timedelta(seconds=retry_in_s),
    }
    return Told(*connection.execute(_END, values).one())


def output_context(
    connection: Connection, tenant_id: UUID, run_id: UUID, refs: list[str], uses_spec: bool
) -> Any:
    """Return the facts that a run's `output` looks at."""
    values = {"tenant": tenant_id, "run": run_id, "refs": dump(refs), "uses_spec": uses_spec}
    return connection.execute(_CONTEXT, values).scalar_one()


def note_paused_by_parent(connection: Connection, tenant_id: UUID, child_id: UUID) -> None:
    """Note that the run was paused because its parent was: the parent's resume sends it on."""
    connection.execute(
        text(
            "UPDATE runs SET paused_by_parent = true"
            " WHERE tenant_id = :tenant AND id = :child AND state IN ('pausing', 'paused')"
        ),
        {"tenant": tenant_id, "child": child_id},
    )


def due_of(connection: Connection, tenant_id: UUID, run_id: UUID) -> list[Due]:
    """Return the children of a run that are not as it is."""
    query = _DUE.format(
        of_parent="AND c.tenant_id = :tenant AND c.parent_run_id = :run",
        of_run="AND s.tenant_id = :tenant AND s.run_id = :run",
        limit=":limit",
    )
    rows = connection.execute(text(query), {"tenant": tenant_id, "run": run_id, "limit": ALL_OF_ONE})
    return [Due(RunRef(row[0], row[1]), row[2]) for row in rows]


def children_due(system: Database, limit: int) -> list[Due]:
    """Return up to `limit` children of all tenants that are not as their parents are."""
    rows = system.call(ALL_DUE, (limit,))
    return [Due(RunRef(row[0], row[1]), row[2]) for row in rows]
