"""Replication slots: who reads the write-ahead log, how much of it the server keeps for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from app.db.engine import Database

_SLOTS: Final = """
  SELECT slot_name, CASE WHEN wal_status = 'lost' THEN 'lost' WHEN active THEN 'read' ELSE 'unread' END,
         pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, safe_wal_size
  FROM pg_replication_slots WHERE NOT temporary AND NOT pg_is_in_recovery() ORDER BY slot_name
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A slot that outlives its reader; `lost`: the server has removed what was kept for it."""

    name: str
    state: Literal["read", "unread", "lost"]
    held: int | None
    """Bytes of the log that the server keeps for it, None once it is lost."""
    left: int | None
    """How many more it may keep before it is lost, None without max_slot_wal_keep_size."""


def slots(database: Database) -> tuple[Slot, ...]:
    """Return the slots of the server; any role may ask. Raises Unavailable."""
    return tuple(Slot(*row) for row in database.call(_SLOTS))


def server_id(database: Database) -> str:
    """Return what tells this cluster from every other one, its standbys aside. Raises Unavailable."""
    return str(database.call("SELECT system_identifier FROM pg_control_system()")[0][0])


def slot_bound(database: Database) -> int | None:
    """Return how many MiB of the log a slot may keep, None without a bound. Raises Unavailable."""
    setting = "SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size'"
    bound = int(database.call(setting)[0][0])
    return None if bound < 0 else bound
