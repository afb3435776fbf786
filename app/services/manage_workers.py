"""The platform administrator's orders to workers, with what they make of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from app.db import orders, trail, workers
from app.db.engine import Database
from app.db.trail import Mark
from app.db.workers import WorkerRow
from app.domain.errors import NotFound, PreconditionFailed
from app.domain.hands import Order
from app.domain.identity import Actor
from app.domain.leases import PROTOCOL
from app.domain.paging import Page, PageRequest

QUARANTINED: Final = "quarantined"


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker process with its order; `skewed` when it is of another release than who shows it."""

    worker: WorkerRow
    skewed: bool


def list_workers(platform: Database, release: str, wanted: PageRequest) -> Page[WorkerView]:
    """Return the worker processes seen within a day, by name, then by start."""
    with platform.system() as connection:
        found = workers.page(connection, wanted)
    return Page(
        tuple(
            WorkerView(row, skewed=(row.version, row.protocol) != (release, PROTOCOL)) for row in found.items
        ),
        found.next_cursor,
    )


def show_order(platform: Database, name: str) -> Order:
    """Return what is ordered of the workers of this name; raises NotFound for a name nobody has had."""
    with platform.system() as connection:
        if not orders.known(connection, name):
            raise NotFound("no worker of this name was seen within a day, none has an order")
        return orders.find(connection, name)


def change_order(
    platform: Database, actor: Actor, name: str, version: int | None, changes: Mapping[str, Any]
) -> Order:
    """Order the workers of this name; raises NotFound, PreconditionFailed.

    From the commit on, those that are not active win no claim; within a heartbeat they take no message
    either. What a draining one executes it ends; what a quarantined one executes is ready again at once, so
    it may be executed twice. An order that is in force already changes nothing.
    """
    with platform.system() as connection:
        if not orders.known(connection, name):
            raise NotFound("no worker of this name was seen within a day, none has an order")
        present = orders.find(connection, name, lock=True)
        if version is not None and version != present.version:
            raise PreconditionFailed(f"the order is at version {present.version}")
        wanted = replace(present, **changes)
        if wanted != present:
            present = orders.give(connection, replace(wanted, changed_by=actor.email))
            detail = {"state": present.state, "pool_size": present.pool_size, "reason": present.reason}
            mark = Mark("worker.order", f"workers/{name}", detail=detail)
            trail.leave(connection, actor.tenant_id, actor.as_json(), mark)
        if present.state == QUARANTINED:
            orders.take_back(connection, name)
    return present
