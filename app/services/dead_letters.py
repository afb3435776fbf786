"""Dead letters: looked at with their whole history, replayed one by one."""

from __future__ import annotations

from uuid import UUID

from app.db import dead_letters, runs
from app.db.engine import Database
from app.db.reads import Document
from app.domain.errors import NotFound
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.domain.runs import Run
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.retry_run import run_of
from app.services.submit import SubmitDeps


def list_dead_letters(database: Database, actor: Actor, wanted: PageRequest) -> Page[Document]:
    """Return the tenant's dead letters, latest first."""
    with database.tenant(actor.tenant_id) as connection:
        return dead_letters.page(connection, actor.tenant_id, wanted)


def show_dead_letter(database: Database, actor: Actor, run_id: UUID, key: str) -> Document:
    """Return a dead letter with every attempt; raises NotFound when that step is not parked."""
    with database.tenant(actor.tenant_id) as connection:
        found = dead_letters.find(connection, actor.tenant_id, run_id, key)
    if found is None:
        raise NotFound("no such dead letter")
    return found


def replay_dead_letter(
    deps: SubmitDeps,
    actor: Actor,
    run_id: UUID,
    key: str,
    version: int | None = None,
    *,
    receipt: Receipt = NO_RECEIPT,
) -> Run:
    """Retry the run from this step alone, with what its failure held back; other dead letters stay parked.

    Raises NotFound when that step is not parked, else what `retry_run` raises.
    """
    tenant_id = actor.tenant_id
    with deps.engine.database.tenant(tenant_id) as connection:
        receipt.open(connection)
        if dead_letters.find(connection, tenant_id, run_id, key) is None:
            raise NotFound("no such dead letter")
        verdict, run = runs.retry_run(connection, tenant_id, run_id, actor.as_json(), version, key)
        checked = run_of(verdict, run, "retried")
        deps.admission.reenter(connection, checked)
        receipt.close(connection, checked)
    deps.outbox.later(lambda: deps.admission.go_on(tenant_id, run_id))
    return checked
