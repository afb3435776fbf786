"""Bulk actions: frozen, listed, steered, executed item by item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, text

from app.db.engine import Database
from app.db.reads import Document
from app.domain.bulk import LEGAL_STATES, REPLAY, SAMPLE, BulkAction, BulkBatch, BulkItem
from app.domain.documents import dump, printable
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

_COLUMNS: Final = (
    "id, action, filter, state, rate, reason, matched, total, done, counts, version, created_by, created_at,"
    " finished_at"
)
_FAILED_BY: Final = (
    "(r.error ->> 'code' = :error_code OR EXISTS (SELECT 1 FROM run_steps f WHERE f.tenant_id = r.tenant_id"
    " AND f.run_id = r.id AND f.state = 'failed' AND f.error ->> 'code' = :error_code))"
)
_LABEL_KEY: Final = (
    "EXISTS (SELECT 1 FROM intent_labels l WHERE l.tenant_id = r.tenant_id AND l.intent_id = r.intent_id"
    " AND l.key = :label_key)"
)
_LABEL_VALUE: Final = f"{_LABEL_KEY[:-1]} AND l.value = :label_value)"
_CONDITIONS: Final = {
    "type": "r.type_name = :type",
    "created_after": "r.created_at > :created_after",
    "created_before": "r.created_at < :created_before",
    "error_code": _FAILED_BY,
}
# The dead letters of a run: several that are all of them are one item without a step, so that they run again
# together; else each is an item, since a replay begins from one step.
_LETTERS: Final = """
    SELECT r.id AS run_id, r.version,
           CASE WHEN s.chosen = s.parked AND s.parked > 1 THEN NULL ELSE k END AS step
    FROM runs r JOIN LATERAL (
      SELECT count(*) AS parked, count(*) FILTER (WHERE {chosen}) AS chosen,
             array_agg(s.key ORDER BY s.key) FILTER (WHERE {chosen}) AS keys
      FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.state = 'failed'
        AND NOT s.continue_on_failure AND s.error ->> 'code' IS DISTINCT FROM 'items_failed'
    ) s ON s.chosen > 0
    CROSS JOIN LATERAL unnest(CASE WHEN s.chosen = s.parked THEN s.keys[1:1] ELSE s.keys END) k
    WHERE {where}
"""
_RUNS: Final = "SELECT r.id AS run_id, r.version, CAST(NULL AS text) AS step FROM runs r WHERE {where}"


def freeze(
    connection: Connection, tenant_id: UUID, made: BulkAction, wanted: Mapping[str, Any], limit: int
) -> None:
    """Write the action with the oldest `limit` runs that fit `wanted`, its event, its audit record.

    `wanted` may hold state, type, workflow (name or name@version), label (key or key=value), created_after,
    created_before, error_code.
    """
    found, values = _matching(tenant_id, made.action, wanted)
    values |= {
        "bulk": made.id,
        "action": made.action,
        "filter": dump(made.filter),
        "reason": printable(made.reason),
        "rate": made.rate,
        "actor": dump(dict(made.created_by)),
        "limit": limit,
    }
    connection.execute(
        text(
            "INSERT INTO bulk_actions (tenant_id, id, action, filter, reason, rate, created_by) VALUES"
            " (:tenant, :bulk, :action, CAST(:filter AS jsonb), :reason, :rate, CAST(:actor AS jsonb))"
        ),
        values,
    )
    total = connection.execute(
        text(
            "INSERT INTO bulk_action_items (tenant_id, bulk_id, n, run_id, step_key, version)"  # noqa: S608 - see _matching
            " SELECT :tenant, :bulk, row_number() OVER (ORDER BY run_id, step), run_id, step, version"
            f" FROM ({found}) found ORDER BY run_id, step LIMIT :limit"
        ),
        values,
    ).rowcount
    matched = total if total < limit else _count(connection, found, values)
    connection.execute(
        text("SELECT start_bulk(:tenant, :bulk, :total, :matched)"),
        {"tenant": tenant_id, "bulk": made.id, "total": total, "matched": matched},
    )


def preview(
    connection: Connection, tenant_id: UUID, action: str, wanted: Mapping[str, Any]
) -> tuple[int, tuple[Document, ...]]:
    """Return how many items a freeze would find now, with the first of them."""
    found, values = _matching(tenant_id, action, wanted)
    sample = connection.execute(
        text(f"SELECT run_id, step FROM ({found}) found ORDER BY run_id, step LIMIT :sample"),  # noqa: S608 - see _matching
        {**values, "sample": SAMPLE},
    ).mappings()
    return _count(connection, found, values), tuple(dict(row) for row in sample)


def find(connection: Connection, tenant_id: UUID, bulk_id: UUID) -> BulkAction | None:
    """Return the action with its first items, None when this tenant has no such action."""
    values = {"tenant": tenant_id, "bulk": bulk_id, "sample": SAMPLE}
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM bulk_actions WHERE tenant_id = :tenant AND id = :bulk"),  # noqa: S608 - a constant
        values,
    ).first()
    if row is None:
        return None
    sample = connection.execute(
        text(
            "SELECT run_id, step_key AS step FROM bulk_action_items"
            " WHERE tenant_id = :tenant AND bulk_id = :bulk ORDER BY n LIMIT :sample"
        ),
        values,
    ).mappings()
    return replace(BulkAction(*row), sample=tuple(dict(each) for each in sample))


def page(connection: Connection, tenant_id: UUID, wanted: PageRequest, state: str | None) -> Page[BulkAction]:
    """Return the actions, latest first, all or those in one state."""
    values: dict[str, Any] = {"tenant": tenant_id, "limit": wanted.limit + 1}
    query = f"SELECT {_COLUMNS} FROM bulk_actions WHERE tenant_id = :tenant"  # noqa: S608 - a constant
    if state is not None:
        query, values["state"] = query + " AND state = :state", state
    if wanted.after is not None:
        query, values["after"] = query + " AND id < :after", decode_cursor(wanted.after)[0]
    rows = connection.execute(text(query + " ORDER BY id DESC LIMIT :limit"), values).all()
    found = tuple(BulkAction(*row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1].id) if len(rows) > wanted.limit else None)


def page_items(
    connection: Connection, tenant_id: UUID, bulk_id: UUID, wanted: PageRequest, outcome: str | None
) -> Page[Document]:
    """Return the items of an action in their order, all or those with one outcome."""
    values: dict[str, Any] = {"tenant": tenant_id, "bulk": bulk_id, "limit": wanted.limit + 1}
    query = (
        "SELECT n, run_id, step_key AS step, outcome, error, new_run_id, finished_at FROM bulk_action_items"
        " WHERE tenant_id = :tenant AND bulk_id = :bulk"
    )
    if outcome is not None:
        query, values["outcome"] = query + " AND outcome = :outcome", outcome
    if wanted.after is not None:
        query, values["after"] = query + " AND n > :after", decode_cursor(wanted.after)[0]
    rows = connection.execute(text(query + " ORDER BY n LIMIT :limit"), values).mappings().all()
    found = tuple(dict(row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1]["n"]) if len(rows) > wanted.limit else None)


def steer(
    connection: Connection,
    tenant_id: UUID,
    bulk_id: UUID,
    actor: Mapping[str, Any],
    version: int | None,
    verb: str,
) -> str:
    """Pause, resume or cancel the action; verdicts: ok, conflict, illegal, not_found."""
    values = {
        "tenant": tenant_id,
        "bulk": bulk_id,
        "actor": dump(dict(actor)),
        "version": version,
        "verb": verb,
    }
    query = text("SELECT steer_bulk(:tenant, :bulk, CAST(:actor AS jsonb), :version, :verb)")
    return str(connection.execute(query, values).scalar_one())


def lease(system: Database, owner: str, lease_s: float, limit: int, largest: int) -> list[BulkBatch]:
    """Take up to `limit` actions whose next batch, of at most `largest` items, is due; raises Unavailable."""
    rows = system.call(
        "SELECT * FROM lease_bulks(%s, %s, %s, %s)", (owner, timedelta(seconds=lease_s), limit, largest)
    )
    return [BulkBatch(*row) for row in rows]


def waiting_steps(system: Database, tenant_id: UUID, most: int) -> int:
    """Return how many steps of the tenant wait in the broker, counted up to `most`; raises Unavailable."""
    rows = system.call(
        "SELECT count(*) FROM (SELECT 1 FROM run_steps WHERE state || '' = 'ready' AND sent_at IS NOT NULL"
        " AND tenant_id = %s LIMIT %s) waiting",
        (tenant_id, most),
    )
    return int(rows[0][0])


def pending(connection: Connection, tenant_id: UUID, bulk_id: UUID, limit: int) -> list[BulkItem]:
    """Return the next items to act on."""
    rows = connection.execute(
        text(
            "SELECT n, run_id, step_key, version FROM bulk_action_items WHERE tenant_id = :tenant"
            " AND bulk_id = :bulk AND outcome = 'pending' ORDER BY n LIMIT :limit"
        ),
        {"tenant": tenant_id, "bulk": bulk_id, "limit": limit},
    )
    return [BulkItem(*row) for row in rows]


def claim_item(connection: Connection, tenant_id: UUID, bulk_id: UUID, n: int, owner: str) -> bool:
    """Tell whether the owner may act on the item within this transaction; never waits."""
    values = {"tenant": tenant_id, "bulk": bulk_id, "n": n, "owner": owner}
    return bool(
        connection.execute(text("SELECT claim_bulk_item(:tenant, :bulk, :n, :owner)"), values).scalar()
    )


def settle_item(
    connection: Connection,
    tenant_id: UUID,
    bulk_id: UUID,
    n: int,
    outcome: str,
    *,
    error: Mapping[str, Any] | None = None,
    new_run_id: UUID | None = None,
) -> None:
    """Write what became of a claimed item; the last one finishes the action."""
    connection.execute(
        text("SELECT settle_bulk_item(:tenant, :bulk, :n, :outcome, CAST(:error AS jsonb), :new)"),
        {
            "tenant": tenant_id,
            "bulk": bulk_id,
            "n": n,
            "outcome": outcome,
            "error": None if error is None else dump(printable(dict(error))),
            "new": new_run_id,
        },
    )


def _matching(tenant_id: UUID, action: str, wanted: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the query of what the action is for, made of this module's constants, with its parameters."""
    given = {name: value for name, value in wanted.items() if value is not None}
    states = (given["state"],) if "state" in given else LEGAL_STATES[action]
    # A sub-workflow's run goes with its parent's.
    where = ["r.tenant_id = :tenant", "r.state = ANY (CAST(:states AS text[]))", "r.parent_run_id IS NULL"]
    values: dict[str, Any] = {"tenant": tenant_id, "states": list(states)}
    letters, chosen = action == REPLAY, "true"
    for name, condition in _CONDITIONS.items():
        if name in given:
            values[name] = given[name]
            if letters and name == "error_code":
                chosen = "s.error ->> 'code' = :error_code"
            else:
                where.append(condition)
    if "workflow" in given:
        name, _, version = given["workflow"].partition("@")
        where.append("r.workflow_name = :workflow")
        values["workflow"] = name
        if version:
            where.append("r.workflow_version = :workflow_version")
            values["workflow_version"] = int(version)
    if "label" in given:
        key, separator, value = given["label"].partition("=")
        where.append(_LABEL_VALUE if separator else _LABEL_KEY)
        values |= {"label_key": key, **({"label_value": value} if separator else {})}
    query = _LETTERS if letters else _RUNS
    return query.format(where=" AND ".join(where), chosen=chosen), values


def _count(connection: Connection, found: str, values: Mapping[str, Any]) -> int:
    query = text(f"SELECT count(*) FROM ({found}) found")  # noqa: S608 - see _matching
    return int(connection.execute(query, dict(values)).scalar_one())
