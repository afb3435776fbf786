"""The rows of the processes that serve, by which a migration knows who works on the schema."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from psycopg2.errors import UndefinedFunction

from app.db.engine import Database
from app.domain.upgrades import Process

FORGET_AFTER = "1 day"
# After a restart of the server nobody has had the time to be heard of.
_HEARD: Final = (
    "SELECT kind, count(*)::int FROM processes WHERE greatest(seen_at, pg_postmaster_start_time())"
    " > clock_timestamp() - make_interval(secs => %s) GROUP BY kind ORDER BY kind"
)
TOO_NEW = "too_new"


def attend(system: Database, process: Process) -> str:
    """Note that the process lives; return whether it may work: `welcome`, `too_old`, `too_new`.

    Raises Unavailable.
    """
    values = (process.boot, process.kind, process.host, process.pid, process.release, process.revision)
    try:
        rows = system.call("SELECT attend(%s, %s, %s, %s, %s, %s, %s)", (*values, process.needs))
    except UndefinedFunction:
        return TOO_NEW  # never migrated
    return str(rows[0][0])


def depart(system: Database, boot: UUID) -> None:
    """Note that the process ends in good order; raises Unavailable."""
    system.call("DELETE FROM processes WHERE boot = %s", (boot,))


def heard_of(system: Database, within_s: float) -> dict[str, int]:
    """Return how many processes of each kind were heard of within so many seconds; raises Unavailable."""
    return {str(kind): int(number) for kind, number in system.call(_HEARD, (within_s,))}


def forget_old(system: Database) -> int:
    """Remove the rows of processes not heard of for a day; return their number."""
    rows = system.call(
        "DELETE FROM processes WHERE seen_at < clock_timestamp() - %s::interval RETURNING 1", (FORGET_AFTER,)
    )
    return len(rows)
