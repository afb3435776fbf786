"""What happened to one run, step by step."""

from __future__ import annotations

from uuid import UUID

from app.db import runs, timeline
from app.db.engine import Database
from app.db.reads import Document
from app.domain.errors import NotFound
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest


def list_timeline(database: Database, actor: Actor, run_id: UUID, wanted: PageRequest) -> Page[Document]:
    """Return the run's events, attempts, audit records as one list, the first first; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        if runs.find(connection, actor.tenant_id, run_id) is None:
            raise NotFound("no such run")
        return timeline.page(connection, actor.tenant_id, run_id, wanted)
