"""What became of backups, as far as the database has been told; the lease of whoever makes one."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from app.db.engine import Database
from app.domain.backups import Standing

LEASE: Final = "backup"
LONGEST_ERROR: Final = 500
_STANDING: Final = """
  SELECT max(begun_at) FILTER (WHERE kind = 'dump' AND verified_at IS NOT NULL),
         max(begun_at) FILTER (WHERE kind <> 'log'),
         EXISTS (SELECT 1 FROM leases WHERE name = %s AND until > clock_timestamp()),
         max(begun_at) FILTER (WHERE kind = 'base' AND verified_at IS NOT NULL),
         max(begun_at) FILTER (WHERE kind = 'log')
  FROM backups
"""
_LATEST: Final = """
  SELECT l.name, l.error, extract(epoch FROM clock_timestamp() - (
    SELECT max(begun_at) FROM backups WHERE kind = 'dump' AND verified_at IS NOT NULL))::float
  FROM backups l WHERE l.kind <> 'log' ORDER BY l.begun_at DESC LIMIT 1
"""
_TAKE: Final = """
  INSERT INTO leases (name, owner, until)
  VALUES (%(name)s, %(owner)s, clock_timestamp() + make_interval(secs => %(seconds)s))
  ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
  WHERE leases.owner = excluded.owner OR leases.until < clock_timestamp()
  RETURNING 1
"""
_NOTE: Final = """
  INSERT INTO backups (name, kind, begun_at, bytes, rows, verified_at, error)
  VALUES (%(name)s, %(kind)s, %(begun_at)s, %(bytes)s, %(rows)s,
          CASE WHEN %(verified)s THEN clock_timestamp() END, %(error)s)
  ON CONFLICT (name) DO UPDATE SET bytes = coalesce(excluded.bytes, backups.bytes),
    rows = coalesce(excluded.rows, backups.rows), error = excluded.error,
    verified_at = coalesce(excluded.verified_at, backups.verified_at)
"""
_FORGET: Final = (
    "DELETE FROM backups WHERE kind <> 'log' AND begun_at < clock_timestamp() - interval '400 days'"
)
_LOG_BEGINS: Final = """
  INSERT INTO backups (name, kind, begun_at) VALUES ('log', 'log', %(at)s)
  ON CONFLICT (name) DO UPDATE SET begun_at = excluded.begun_at WHERE %(anew)s
"""


def standing(system: Database) -> Standing:
    """Return how backups stand; raises Unavailable."""
    return Standing(*system.call(_STANDING, (LEASE,))[0])


def latest(system: Database) -> tuple[str, str | None, float | None] | None:
    """Return the last try with its error, the seconds since the latest verified dump was begun.

    None when nothing was ever tried. Raises Unavailable.
    """
    rows = system.call(_LATEST)
    return (rows[0][0], rows[0][1], rows[0][2]) if rows else None


def take_lease(system: Database, owner: str, seconds: float) -> bool:
    """Take or prolong the lease; False when another one holds it. Raises Unavailable."""
    return bool(system.call(_TAKE, {"name": LEASE, "owner": owner, "seconds": seconds}))


def give_lease_up(system: Database, owner: str) -> None:
    """End the owner's lease; raises Unavailable."""
    system.call("DELETE FROM leases WHERE name = %s AND owner = %s", (LEASE, owner))


def note(
    system: Database,
    name: str,
    begun_at: datetime,
    size: int | None = None,
    rows: int | None = None,
    *,
    kind: str = "dump",
    verified: bool = False,
    error: str | None = None,
) -> None:
    """Note a backup of this name, or what became of it; raises Unavailable. Notes go after 400 days."""
    values = {
        "name": name,
        "kind": kind,
        "begun_at": begun_at,
        "bytes": size,
        "rows": rows,
        "verified": verified,
    }
    system.call(_NOTE, {**values, "error": error and error[:LONGEST_ERROR]})
    system.call(_FORGET)


def log_begins(system: Database, at: datetime, *, anew: bool) -> None:
    """Note since when the write-ahead log is received without a gap: since now, if `anew` or never noted.

    Raises Unavailable.
    """
    system.call(_LOG_BEGINS, {"at": at, "anew": anew})


def log_ends(system: Database) -> None:
    """Note that nobody is to receive the log any more; raises Unavailable."""
    system.call("DELETE FROM backups WHERE kind = 'log'")
