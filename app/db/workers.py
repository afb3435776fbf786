"""Worker processes: heartbeats, dead children, departures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Row, text

from app.db.engine import Database
from app.domain.documents import dump
from app.domain.hands import Order
from app.domain.leases import PROTOCOL, Child, HeldClaim, HeldStep, RunRef
from app.domain.paging import Page, PageRequest, decode_cursor, encode_cursor

FORGET_AFTER = "1 day"
LOST: Final = (
    "(w.state = 'dead' AND w.seen_at > clock_timestamp() - interval '1 hour' AND NOT EXISTS ("
    "SELECT 1 FROM workers n WHERE n.hostname = w.hostname AND n.started_at > w.started_at))"
)
"""Of a worker `w`: it died or froze within the hour, and no other of its name has come since."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker process: `processes` of its pool, `busy` steps it executes, the order it `heeds`.

    One that is `lost` died, or froze, within the hour, and no other of its name has come since.
    """

    boot: UUID
    name: str
    pid: int
    version: str
    protocol: int
    queues: tuple[str, ...]
    processes: int
    busy: int
    state: str
    heeds: str
    started_at: datetime
    seen_at: datetime
    lost: bool
    order: Order


def beat(
    system: Database,
    boot: UUID,
    hostname: str,
    pid: int,
    version: str,
    queues: Sequence[str],
    children: Sequence[Child],
    heeds: str = "active",
) -> list[HeldStep]:
    """Write the heartbeat of one worker; return the steps it holds whose run is being cancelled."""
    listed = dump([{"pid": child.pid, "born": child.born} for child in children])
    rows = system.call(
        "SELECT * FROM beat(%s, %s, %s, %s, %s::text[], %s::jsonb, %s, %s)",
        (boot, hostname, pid, version, list(queues), listed, PROTOCOL, heeds),
    )
    return [HeldStep(tenant, run, key, Child(child, born)) for tenant, run, key, child, born in rows]


def claims(system: Database, boot: UUID) -> list[HeldClaim]:
    """Return what the pool processes of a worker hold."""
    rows = system.call(
        "SELECT tenant_id, run_id, key, tries, dispatch_epoch, lease_pid, lease_born FROM run_steps"
        " WHERE lease_boot = %s AND state || '' = 'running'",
        (boot,),
    )
    return [
        HeldClaim(tenant, run, key, tries, epoch, Child(pid, born))
        for tenant, run, key, tries, epoch, pid, born in rows
    ]


def release_child(system: Database, boot: UUID, child: Child) -> list[RunRef]:
    """Give back what a dead pool process held, each a kill; return the runs to advance."""
    rows = system.call("SELECT * FROM release_child(%s, %s, %s)", (boot, child.pid, child.born))
    return [RunRef(*row) for row in rows]


def busy_queues(system: Database) -> frozenset[str]:
    """Return the queues of which a live worker has no process idle."""
    rows = system.call(
        "SELECT DISTINCT unnest(w.queues) FROM workers w WHERE w.state = 'live' AND (SELECT count(*)"
        " FROM run_steps s WHERE s.lease_boot = w.boot AND s.state || '' = 'running')"
        " >= jsonb_array_length(w.children)"
    )
    return frozenset(row[0] for row in rows)


def leave(system: Database, boot: UUID) -> None:
    """Note that a worker ended in good order; one that still holds steps is found to be dead later."""
    system.call(
        "UPDATE workers SET state = 'left', children = '[]', seen_at = clock_timestamp() WHERE boot = %s"
        " AND NOT EXISTS (SELECT 1 FROM run_steps s WHERE s.lease_boot = boot AND s.state || '' = 'running')",
        (boot,),
    )


def forget_old(system: Database) -> int:
    """Remove the rows of workers not seen for a day; return their number."""
    rows = system.call(
        "DELETE FROM workers WHERE seen_at < clock_timestamp() - %s::interval RETURNING 1", (FORGET_AFTER,)
    )
    return len(rows)


_PAGE: Final = f"""
  SELECT w.boot, w.hostname, w.pid, w.version, w.protocol, w.queues,
         jsonb_array_length(w.children) AS processes,
         (SELECT count(*) FROM run_steps s WHERE s.lease_boot = w.boot AND s.state || '' = 'running') AS busy,
         w.state, w.heeds, w.started_at, w.seen_at, {LOST} AS lost, coalesce(o.state, 'active') AS wanted,
         o.pool_size, coalesce(o.reason, '') AS reason, coalesce(o.changed_by, '') AS changed_by,
         coalesce(o.version, 0) AS order_version, o.updated_at
  FROM workers w LEFT JOIN worker_orders o ON o.name = w.hostname
"""  # noqa: S608 - a constant condition


def page(connection: Connection, wanted: PageRequest) -> Page[WorkerRow]:
    """Return the worker processes seen within a day, by name, then by start."""
    values: dict[str, Any] = {"limit": wanted.limit + 1}
    where = ""
    if wanted.after is not None:
        where = " WHERE (w.hostname, w.boot) > (:name, CAST(:boot AS uuid))"
        values["name"], values["boot"] = decode_cursor(wanted.after, 2)
    rows = connection.execute(text(f"{_PAGE}{where} ORDER BY w.hostname, w.boot LIMIT :limit"), values).all()
    found = tuple(_worker(row) for row in rows[: wanted.limit])
    return Page(found, encode_cursor(found[-1].name, found[-1].boot) if len(rows) > wanted.limit else None)


def _worker(row: Row[Any]) -> WorkerRow:
    order = Order(
        row.hostname, row.wanted, row.pool_size, row.reason, row.changed_by, row.order_version, row.updated_at
    )
    return WorkerRow(
        boot=row.boot,
        name=row.hostname,
        pid=row.pid,
        version=row.version,
        protocol=row.protocol,
        queues=tuple(row.queues),
        processes=row.processes,
        busy=row.busy,
        state=row.state,
        heeds=row.heeds,
        started_at=row.started_at,
        seen_at=row.seen_at,
        lost=row.lost,
        order=order,
    )
