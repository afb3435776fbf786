"""Worker processes: heartbeats, dead children, departures."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from app.db.engine import Database
from app.domain.documents import dump
from app.domain.leases import Child, HeldClaim, HeldStep, RunRef

FORGET_AFTER = "1 day"


def beat(
    system: Database,
    boot: UUID,
    hostname: str,
    pid: int,
    version: str,
    queues: Sequence[str],
    children: Sequence[Child],
) -> list[HeldStep]:
    """Write the heartbeat of one worker; return the steps it holds whose run is being cancelled."""
    listed = dump([{"pid": child.pid, "born": child.born} for child in children])
    rows = system.call(
        "SELECT * FROM beat(%s, %s, %s, %s, %s::text[], %s::jsonb)",
        (boot, hostname, pid, version, list(queues), listed),
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
    """Note that a worker ended in good order."""
    system.call(
        "UPDATE workers SET state = 'left', children = '[]', seen_at = clock_timestamp() WHERE boot = %s",
        (boot,),
    )


def forget_old(system: Database) -> int:
    """Remove the rows of workers not seen for a day; return their number."""
    rows = system.call(
        "DELETE FROM workers WHERE seen_at < clock_timestamp() - %s::interval RETURNING 1", (FORGET_AFTER,)
    )
    return len(rows)
