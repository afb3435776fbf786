"""What the API shows of intents, runs, steps, events, audit records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Reader
from app.domain.ids import uuid7
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

Document = Mapping[str, Any]
Source = Connection | Reader
"""A transaction, or a reader where no two statements need one snapshot."""
Filters = Mapping[str, Any]

SHOWN_STEPS: Final = 1000
# An identifier is made by an API process shortly before its row: clocks may differ by this much.
SKEW: Final = timedelta(minutes=5)

LOOKED_THROUGH: Final = 10_000
_AHEAD: Final = """
    SELECT count(*) AS number, max(position) AS last FROM (
      SELECT position FROM events WHERE tenant_id = :tenant AND position > :after
      ORDER BY position LIMIT :most) e
"""

_INTENT: Final = """
    SELECT i.id, i.type_name AS type, i.type_version, i.name, i.mode, i.phase, i.generation,
           NULLIF(i.observed_generation, 0) AS observed_generation, i.priority, i.version,
           i.created_by, i.created_at, i.updated_at,
           COALESCE((SELECT jsonb_object_agg(l.key, l.value) FROM intent_labels l
                      WHERE l.tenant_id = i.tenant_id AND l.intent_id = i.id), '{}') AS labels
    FROM intents i WHERE i.tenant_id = :tenant
"""
_SPEC: Final = """,
           (SELECT g.spec FROM intent_generations g WHERE g.tenant_id = i.tenant_id AND g.intent_id = i.id
               AND g.generation = i.generation) AS spec
    """
_RUN: Final = """
    SELECT r.id, r.intent_id, r.generation, r.type_name AS type, r.state,
           jsonb_build_object('name', r.workflow_name, 'version', r.workflow_version) AS workflow,
           r.priority, r.round, r.open_steps, r.failed_steps, r.error, r.version, r.plan_hash,
           r.concurrency_key, r.created_at, r.admitted_at, r.started_at, r.finished_at,
           r.deadline_at, r.begin_by, r.compensation, r.depth, substr(r.trace, 4, 32) AS trace_id,
           CASE WHEN r.parent_run_id IS NOT NULL
                THEN jsonb_build_object('run_id', r.parent_run_id, 'step', r.parent_step) END AS parent
    FROM runs r WHERE r.tenant_id = :tenant
"""
_STEP_COLUMNS: Final = """
    SELECT s.key, s.base, s.item, s.seq, s.state, s.operation, s.queue, s.attempt, s.tries, s.round, s.kills,
           s.undoes, s.continue_on_failure, s.not_before, s.error, s.started_at, s.finished_at,
           CASE WHEN s.operation = 'workflow' AND NOT s.is_fan THEN (
             SELECT c.id FROM runs c WHERE c.tenant_id = s.tenant_id AND c.parent_run_id = s.run_id
               AND c.parent_step IN (s.key, 'undo-' || s.key) ORDER BY c.id DESC LIMIT 1) END AS child_run_id,
           CASE WHEN s.state NOT IN ('succeeded', 'skipped') THEN (
             SELECT jsonb_build_object('fraction', g.fraction, 'message', g.message, 'at', g.at)
             FROM step_progress g WHERE g.tenant_id = s.tenant_id AND g.run_id = s.run_id AND g.key = s.key
              AND g.tries = s.tries) END AS progress,
           CASE WHEN CAST(s.reused_from ->> 'tries' AS integer) = s.tries THEN s.reused_from - 'tries' END
             AS reused_from
"""
_STEP_KEYS: Final = " WHERE s.tenant_id = :tenant AND s.run_id = :run"
_STEP: Final = f"""
    {_STEP_COLUMNS}, s.dispatch_epoch, p.needs
    FROM run_steps s
    JOIN runs r ON r.tenant_id = s.tenant_id AND r.id = s.run_id
    JOIN plan_steps p ON p.tenant_id = s.tenant_id AND p.plan_hash = r.plan_hash AND p.base = s.base
    {_STEP_KEYS}
"""
_STEP_ORDER: Final = " ORDER BY s.seq, COALESCE(s.item, -1) LIMIT :limit"


def page_intents(
    connection: Source, tenant_id: UUID, wanted: PageRequest, filters: Filters
) -> Page[Document]:
    """Return intents, latest first, that fit `phase`, `type`, `label`, `created_after`, `created_before`."""
    conditions = {
        "phase": " AND i.phase = :phase",
        "type": " AND i.type_name = :type",
    }
    return _by_time(connection, _INTENT, "i", "i.id", conditions, tenant_id, wanted, filters)


def page_runs(connection: Source, tenant_id: UUID, wanted: PageRequest, filters: Filters) -> Page[Document]:
    """Return runs, latest first, that fit `state`, `type`, `intent_id`, `parent`, `label`, or times."""
    conditions = {
        "state": " AND r.state = :state",
        "type": " AND r.type_name = :type",
        "intent_id": " AND r.intent_id = :intent_id",
        "parent": " AND r.parent_run_id = :parent",
    }
    return _by_time(connection, _RUN, "r", "r.intent_id", conditions, tenant_id, wanted, filters)


def find_intent(connection: Source, tenant_id: UUID, intent_id: UUID) -> Document | None:
    """Return the intent with the spec of its present generation."""
    query = _INTENT.replace("FROM intents i", _SPEC + "FROM intents i", 1)
    return _one(connection, f"{query} AND i.id = :id", {"tenant": tenant_id, "id": intent_id})


def page_generations(
    connection: Source, tenant_id: UUID, intent_id: UUID, wanted: PageRequest
) -> Page[Document]:
    """Return the generations of an intent, latest first."""
    values: dict[str, Any] = {"tenant": tenant_id, "id": intent_id, "limit": wanted.limit + 1}
    query = (
        "SELECT generation, spec, spec_hash, created_by, created_at FROM intent_generations"
        " WHERE tenant_id = :tenant AND intent_id = :id"
    )
    if wanted.after is not None:
        query, values["after"] = query + " AND generation < :after", decode_cursor(wanted.after)[0]
    rows = _all(connection, query + " ORDER BY generation DESC LIMIT :limit", values)
    return _cut(rows, wanted, lambda row: (row["generation"],))


def find_run(connection: Source, tenant_id: UUID, run_id: UUID) -> Document | None:
    """Return the run, with its own spec when it is a sub-workflow's."""
    query = _RUN.replace("r.depth,", "r.depth, r.spec,", 1) + " AND r.id = :id"
    return _one(connection, query, {"tenant": tenant_id, "id": run_id})


def first_steps(connection: Source, tenant_id: UUID, run_id: UUID) -> list[Document]:
    """Return up to `SHOWN_STEPS` steps of a run in the plan's order, without what they need: see `graph`."""
    values = {"tenant": tenant_id, "run": run_id, "limit": SHOWN_STEPS}
    return _all(connection, f"{_STEP_COLUMNS} FROM run_steps s{_STEP_KEYS}{_STEP_ORDER}", values)


def count_steps(connection: Source, tenant_id: UUID, run_id: UUID) -> int:
    """Return how many steps a run has, items of fans included."""
    query = "SELECT count(*) AS n FROM run_steps WHERE tenant_id = :tenant AND run_id = :run"
    [row] = _all(connection, query, {"tenant": tenant_id, "run": run_id})
    return int(row["n"])


def graph(connection: Source, tenant_id: UUID, plan_hash: str) -> Document:
    """Return the base steps of a plan with an edge for each need."""
    query = (
        "SELECT base, needs, COALESCE(definition -> 'needs_on', '{}') AS needs_on FROM plan_steps"
        " WHERE tenant_id = :tenant AND plan_hash = :hash AND undoes IS NULL ORDER BY seq"
    )
    rows = _all(connection, query, {"tenant": tenant_id, "hash": plan_hash})
    return {
        "nodes": [row["base"] for row in rows],
        "edges": [
            {"source": need, "target": row["base"], "on": row["needs_on"].get(need, "success")}
            for row in rows
            for need in row["needs"]
        ],
    }


def page_steps(
    connection: Source, tenant_id: UUID, run_id: UUID, wanted: PageRequest, state: str | None
) -> Page[Document]:
    """Return the steps of a run in the plan's order, items of a fan behind it."""
    values: dict[str, Any] = {"tenant": tenant_id, "run": run_id, "limit": wanted.limit + 1}
    query = _STEP
    if state is not None:
        query, values["state"] = query + " AND s.state = :state", state
    if wanted.after is not None:
        query += " AND (s.seq, COALESCE(s.item, -1)) > (:seq, :item)"
        values["seq"], values["item"] = decode_cursor(wanted.after, 2)
    rows = _all(connection, query + _STEP_ORDER, values)
    return _cut(rows, wanted, lambda row: (row["seq"], -1 if row["item"] is None else row["item"]))


def find_step(connection: Source, tenant_id: UUID, run_id: UUID, key: str) -> Document | None:
    """Return the step with its input, output, attempts."""
    query = _STEP.replace("s.key,", "s.key, s.input, s.output,", 1) + " AND s.key = :key"
    values = {"tenant": tenant_id, "run": run_id, "key": key}
    step = _one(connection, query, values)
    if step is None:
        return None
    attempts = _all(
        connection,
        "SELECT tries, attempt, round, state, worker, error, started_at, finished_at FROM step_attempts"
        " WHERE tenant_id = :tenant AND run_id = :run AND key = :key ORDER BY tries LIMIT 1000",
        values,
    )
    return {**step, "attempts": attempts}


def events_after(
    connection: Source, tenant_id: UUID, after: int, limit: int, kind: str | None, subject: str | None
) -> tuple[list[Document], int | None]:
    """Return events behind a position, in its order, with how far was looked; None: behind the last event.

    Those of a type, of whatever subject, are looked for among the next `LOOKED_THROUGH` events: a rare
    type must not have all read that is kept.
    """
    query = (
        "SELECT id, tenant_id, subject, seq AS sequence, type, data, actor, trace, created_at AS time,"
        " position"
        " FROM events WHERE tenant_id = :tenant AND position > :after"
    )
    query += " AND type = :type" if kind is not None else ""
    query += " AND subject = :subject" if subject is not None else ""
    values = {"tenant": tenant_id, "after": after, "limit": limit, "type": kind, "subject": subject}
    looked = None
    if kind is not None and subject is None:
        (ahead,) = _all(connection, _AHEAD, {"tenant": tenant_id, "after": after, "most": LOOKED_THROUGH})
        if ahead["number"] == LOOKED_THROUGH:
            looked = ahead["last"]
            query += " AND position <= :looked"
            values["looked"] = looked
    rows = _all(connection, query + " ORDER BY position LIMIT :limit", values)
    return rows, rows[-1]["position"] if len(rows) == limit else looked


def events_floor(connection: Source, tenant_id: UUID) -> int:
    """Return the position up to which some of the tenant's events are no longer kept; 0 when all are."""
    query = "SELECT position FROM event_floors WHERE tenant_id = :tenant"
    found = _all(connection, query, {"tenant": tenant_id})
    return int(found[0]["position"]) if found else 0


def page_audit(connection: Source, tenant_id: UUID, wanted: PageRequest, filters: Filters) -> Page[Document]:
    """Return audit records, latest first, that fit `action`, `subject`."""
    query = (
        "SELECT id, actor, action, subject, outcome, detail, request_id, source_ip, created_at"
        " FROM audit_records a WHERE a.tenant_id = :tenant"
    )
    conditions = {"action": " AND a.action = :action", "subject": " AND a.subject = :subject"}
    return _by_time(connection, query, "a", "a.id", conditions, tenant_id, wanted, filters)


def _by_time(
    connection: Source,
    query: str,
    alias: str,
    labelled: str,
    conditions: Mapping[str, str],
    tenant_id: UUID,
    wanted: PageRequest,
    filters: Filters,
) -> Page[Document]:
    """Return a page ordered by id, hence by time; bounds of time become bounds of the id for the index."""
    values: dict[str, Any] = {"tenant": tenant_id, "limit": wanted.limit + 1}
    for name, condition in conditions.items():
        if filters.get(name) is not None:
            query, values[name] = query + condition, filters[name]
    bounds: dict[str, str] = {}
    for name, sign, skew, rest in (("created_after", ">", -SKEW, 0), ("created_before", "<", SKEW, 0xFF)):
        moment = filters.get(name)
        if moment is not None:
            query, bounds[f"{name}_id"] = query + f" AND {alias}.created_at {sign} :{name}", sign
            values |= {name: moment, f"{name}_id": _id_at(moment + skew, rest)}
    if wanted.after is not None:
        bounds["after"], values["after"] = "<", decode_cursor(wanted.after)[0]
    query += "".join(f" AND {alias}.id {sign} :{name}" for name, sign in bounds.items())
    if filters.get("label") is not None:
        key, separator, value = filters["label"].partition("=")
        # The labels of intents have the same bounds: else a merge join reads them all from the newest on.
        same = bounds if labelled == f"{alias}.id" else {}
        query += (
            f" AND EXISTS (SELECT 1 FROM intent_labels l WHERE l.tenant_id = {alias}.tenant_id"  # noqa: S608 - constants
            f" AND l.intent_id = {labelled} AND l.key = :label_key"
            f"{' AND l.value = :label_value' if separator else ''}"
            f"{''.join(f' AND l.intent_id {sign} :{name}' for name, sign in same.items())})"
        )
        values |= {"label_key": key, "label_value": value}
    rows = _all(connection, f"{query} ORDER BY {alias}.id DESC LIMIT :limit", values)
    return _cut(rows, wanted, lambda row: (row["id"],))


def _id_at(moment: datetime, rest: int) -> UUID:
    """Return the first (`rest` 0) or last (255) identifier of a millisecond."""
    return uuid7(max(0, int(moment.timestamp() * 1000)), bytes([rest]) * 10)


def _cut(
    rows: list[Document], wanted: PageRequest, key: Callable[[Document], tuple[Any, ...]]
) -> Page[Document]:
    found = tuple(rows[: wanted.limit])
    return Page(found, encode_cursor(*key(found[-1])) if len(rows) > wanted.limit else None)


def _all(connection: Source, query: str, values: Mapping[str, Any]) -> list[Document]:
    if isinstance(connection, Reader):
        return list(connection.rows(query, values))
    return [dict(row) for row in connection.execute(text(query), dict(values)).mappings()]


def _one(connection: Source, query: str, values: Mapping[str, Any]) -> Document | None:
    return next(iter(_all(connection, query, values)), None)
