"""What a tenant's users read: intents, runs, steps, events, audit records."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from app.db import reads
from app.db.engine import Database
from app.db.reads import Document
from app.domain.errors import NotFound, OperationFailed
from app.domain.events import Event
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.services.artifacts import Artifacts
from app.services.children import output_of
from app.services.plans import PlanCache, Recent

_GRAPHS: Final[Recent[tuple[UUID, str], Document]] = Recent("graphs", 512)
"""Graphs shown before: the plan behind a hash never changes."""


def list_intents(database: Database, actor: Actor, wanted: PageRequest, **filters: Any) -> Page[Document]:
    """Return the tenant's intents, latest first."""
    with database.reading(actor.tenant_id) as connection:
        return reads.page_intents(connection, actor.tenant_id, wanted, filters)


def show_intent(database: Database, actor: Actor, intent_id: UUID) -> Document:
    """Return an intent with its spec; raises NotFound."""
    with database.reading(actor.tenant_id) as connection:
        return _found(reads.find_intent(connection, actor.tenant_id, intent_id), "intent")


def list_generations(
    database: Database, actor: Actor, intent_id: UUID, wanted: PageRequest
) -> Page[Document]:
    """Return the generations of an intent, latest first; raises NotFound."""
    with database.reading(actor.tenant_id) as connection:
        _found(reads.find_intent(connection, actor.tenant_id, intent_id), "intent")
        return reads.page_generations(connection, actor.tenant_id, intent_id, wanted)


def list_runs(database: Database, actor: Actor, wanted: PageRequest, **filters: Any) -> Page[Document]:
    """Return the tenant's runs, latest first."""
    with database.reading(actor.tenant_id) as connection:
        return reads.page_runs(connection, actor.tenant_id, wanted, filters)


def show_run(database: Database, plans: PlanCache, store: Artifacts, actor: Actor, run_id: UUID) -> Document:
    """Return a run with its graph, its first steps, what it gives back; raises NotFound."""
    with database.reading(actor.tenant_id) as connection:
        run = _found(reads.find_run(connection, actor.tenant_id, run_id), "run")
        steps = reads.first_steps(connection, actor.tenant_id, run_id)
        total = len(steps)
        if total == reads.SHOWN_STEPS:
            total = reads.count_steps(connection, actor.tenant_id, run_id)
        graph = _GRAPHS.get(
            (actor.tenant_id, run["plan_hash"]),
            lambda: reads.graph(connection, actor.tenant_id, run["plan_hash"]),
        )
    needs: dict[str, list[str]] = {base: [] for base in graph["nodes"]}
    for edge in graph["edges"]:
        needs[edge["target"]].append(edge["source"])
    shown = [{**step, "needs": needs.get(step["base"], [])} for step in steps]
    given = _given_back(database, plans, store, actor, run)
    return {**run, **given, "steps": shown, "steps_total": total, "graph": graph}


def _given_back(
    database: Database, plans: PlanCache, store: Artifacts, actor: Actor, run: Document
) -> dict[str, Any]:
    """Return `output` of a run that ended well, evaluated from its rows, which are final."""
    if run["state"] != "succeeded":
        return {"output": None}
    plan = plans.peek(run["plan_hash"])
    if plan is not None and not plan.output:
        return {"output": {}}
    with database.tenant(actor.tenant_id) as connection:
        try:
            given = output_of(connection, plans, store, actor.tenant_id, run["id"], run["plan_hash"])
        except OperationFailed as fault:
            return {"output": None, "error": fault.as_error()}
    return {"output": given}


def list_steps(
    database: Database, actor: Actor, run_id: UUID, wanted: PageRequest, state: str | None = None
) -> Page[Document]:
    """Return the steps of a run in the plan's order; raises NotFound."""
    with database.reading(actor.tenant_id) as connection:
        _found(reads.find_run(connection, actor.tenant_id, run_id), "run")
        return reads.page_steps(connection, actor.tenant_id, run_id, wanted, state)


def show_step(database: Database, actor: Actor, run_id: UUID, key: str) -> Document:
    """Return a step with its input, output, attempts; raises NotFound."""
    with database.reading(actor.tenant_id) as connection:
        return _found(reads.find_step(connection, actor.tenant_id, run_id, key), "step")


def read_events(
    database: Database, actor: Actor, after: int, limit: int, kind: str | None, subject: str | None
) -> dict[str, Any]:
    """Return the events behind a position as CloudEvents, with the position to go on from.

    `more` tells whether there may be more behind it now, `gap_upto` up to where some of what the reader has
    not read yet is kept no longer.
    """
    with database.reading(actor.tenant_id) as connection:
        rows, looked = reads.events_after(connection, actor.tenant_id, after, limit, kind, subject)
        # Asked behind the events: what is pruned between the two is told as well.
        floor = reads.events_floor(connection, actor.tenant_id) if after else 0
    events = [Event(**row) for row in rows]
    return {
        "items": [event.cloud_event() for event in events],
        "next_cursor": looked if looked is not None else events[-1].position if events else after,
        "more": looked is not None,
        "gap_upto": floor if floor > after else None,
    }


def list_audit(database: Database, actor: Actor, wanted: PageRequest, **filters: Any) -> Page[Document]:
    """Return the tenant's audit records, latest first."""
    with database.reading(actor.tenant_id) as connection:
        return reads.page_audit(connection, actor.tenant_id, wanted, filters)


def _found(document: Document | None, what: str) -> Document:
    if document is None:
        raise NotFound(f"no such {what}")
    return document
