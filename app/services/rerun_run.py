"""The rerun: a new run of the same plan, with the same spec or an edited one."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.db import reads, runs
from app.db.engine import Connection
from app.domain.errors import NotFound
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.manage_pools import refuse_pools_of_run
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.retry_run import run_of
from app.services.submit import SubmitDeps, checked_spec, hash_of, keyed
from app.services.type_book import PlannedType

SAME_SPEC = object()
"""Stands for the spec that the run had."""


def rerun_run(
    deps: SubmitDeps,
    actor: Actor,
    run_id: UUID,
    spec: Any = SAME_SPEC,
    version: int | None = None,
    *,
    receipt: Receipt = NO_RECEIPT,
) -> Run:
    """Start a new run of an ended run's plan in one commit, and send it after; return the new run.

    A spec that differs from the intent's present one becomes its next generation.

    Raises NotFound, InvalidInput when the spec does not fit the intent's type, PreconditionFailed when
    `version` is not the run's present one, IllegalState unless the run has ended, Conflict when the intent
    has another open run.
    """
    tenant_id, new_run_id = actor.tenant_id, deps.new_id()
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        edited, concurrency = None, None
        refuse_pools_of_run(connection, tenant_id, run_id)
        if spec is not SAME_SPEC:
            planned = _planned(deps, connection, tenant_id, run_id)
            edited = spec, hash_of(checked_spec(planned, spec))
            concurrency = keyed(planned.plan, spec).get("concurrency")
        verdict, run = runs.rerun_run(
            connection, tenant_id, run_id, actor.as_json(), version, new_run_id, edited, concurrency
        )
        checked = run_of(verdict, run, "run again")
        deps.admission.reenter(connection, checked)
        receipt.close(connection, checked)
    deps.outbox.later(lambda: deps.admission.go_on(tenant_id, new_run_id))
    return checked


def _planned(deps: SubmitDeps, connection: Connection, tenant_id: UUID, run_id: UUID) -> PlannedType:
    """Return the type of the run's intent."""
    run = runs.find(connection, tenant_id, run_id)
    intent = reads.find_intent(connection, tenant_id, run.intent_id) if run is not None else None
    if intent is None:
        raise NotFound("no such run")
    return deps.types.find(connection, tenant_id, intent["type"], intent["type_version"])
