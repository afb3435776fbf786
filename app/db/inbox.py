"""The inbox of a consumer: which events it has handled, noted in the transaction that handled them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg2

from app.domain.errors import Unavailable

CloudEvent = Mapping[str, Any]
Handler = Callable[[Any, CloudEvent], None]
"""Handles an event with a cursor of the inbox's open transaction; what it writes there is written once."""

SQLITE_BUSY_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 5
PRUNED_AT_ONCE: Final = 10_000
_TABLE: Final = """
  CREATE TABLE IF NOT EXISTS quantum_inbox (
    consumer text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    handled_at {moment} NOT NULL DEFAULT CURRENT_TIMESTAMP,
    fault text,
    event text,
    PRIMARY KEY (consumer, source, id)
  )
"""
_AGES: Final = "CREATE INDEX IF NOT EXISTS quantum_inbox_age ON quantum_inbox (handled_at)"
_NOTE: Final = (
    "INSERT INTO quantum_inbox (consumer, source, id, fault, event) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (consumer, source, id) DO NOTHING"
)
_PARKED: Final = (
    "SELECT source, id, fault, event FROM quantum_inbox WHERE consumer = ? AND fault IS NOT NULL"
    " ORDER BY handled_at, source, id LIMIT ?"
)
_PRUNE: Final = (
    "DELETE FROM quantum_inbox WHERE (consumer, source, id) IN ("
    "SELECT consumer, source, id FROM quantum_inbox"
    " WHERE consumer = ? AND fault IS NULL AND handled_at < {before} LIMIT ?)"
)
# Two consumers that begin at once would both find no table: in PostgreSQL the second then fails.
_ALONE: Final = "SELECT pg_advisory_xact_lock(hashtext('quantum_inbox'))"
_AWAY: Final = ("BUSY", "LOCKED", "IOERR", "FULL", "CANTOPEN", "READONLY", "NOMEM", "PROTOCOL")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What PostgreSQL and SQLite do not have in common."""

    connect: Callable[[str], Any]
    away: Callable[[Exception], bool]
    """Whether a fault tells of the database, not of the handler."""
    mark: str
    moment: str
    before: str
    alone: str

    def spelt(self, statement: str) -> str:
        """Return a statement of this module as the driver reads it."""
        return statement.replace("?", self.mark)


def _postgres(place: str) -> Any:
    return psycopg2.connect(place, connect_timeout=CONNECT_TIMEOUT_S)


def _sqlite(place: str) -> Any:
    return sqlite3.connect(place, timeout=SQLITE_BUSY_S, check_same_thread=False)


def _sqlite_away(fault: Exception) -> bool:
    name = getattr(fault, "sqlite_errorname", "") or ""
    return isinstance(fault, sqlite3.OperationalError) and name.removeprefix("SQLITE_").startswith(_AWAY)


POSTGRES: Final = Dialect(
    connect=_postgres,
    away=lambda fault: isinstance(fault, psycopg2.OperationalError | psycopg2.InterfaceError),
    mark="%s",
    moment="timestamptz",
    before="now() - make_interval(secs => ?)",
    alone=_ALONE,
)
SQLITE: Final = Dialect(
    connect=_sqlite,
    away=_sqlite_away,
    mark="?",
    moment="text",
    before="datetime('now', '-' || ? || ' seconds')",
    alone="",
)


class Inbox:
    """One consumer's inbox in the database that keeps its work: `postgresql://…`, or a file of SQLite.

    Consumers that share a table have names of their own; those of one group share a name.
    Every method raises Unavailable while the database is away.
    """

    def __init__(self, place: str, consumer: str) -> None:
        self._place, self._consumer = place, consumer
        self._dialect = POSTGRES if place.startswith(("postgresql://", "postgres://")) else SQLITE
        self._connection: Any = None

    def prepare(self) -> None:
        """Make the table when it is missing."""
        with self._transaction() as cursor:
            if self._dialect.alone:
                cursor.execute(self._dialect.alone)
            cursor.execute(_TABLE.format(moment=self._dialect.moment))
            cursor.execute(_AGES)

    def once(self, event: CloudEvent, handle: Handler) -> bool:
        """Handle the event, unless it was; return whether it was handled now.

        The note and what the handler writes are one commit. A second consumer with the same event waits here
        until the first has ended.
        """
        with self._transaction() as cursor:
            if not self._noted(cursor, event, None):
                return False
            handle(cursor, event)
        return True

    def park(self, event: CloudEvent, fault: str) -> None:
        """Note that the event was given up, why, with its content: what comes behind it passes."""
        with self._transaction() as cursor:
            self._noted(cursor, event, fault)

    def parked(self, limit: int) -> list[tuple[str, dict[str, Any]]]:
        """Return the faults of events that were given up, each with the event, the oldest first."""
        with self._transaction() as cursor:
            cursor.execute(self._dialect.spelt(_PARKED), (self._consumer, limit))
            return [(fault, json.loads(event)) for _, _, fault, event in cursor.fetchall()]

    def prune(self, older_s: float) -> int:
        """Forget handled events noted longer ago than so many seconds; parked ones stay. Return how many."""
        gone = 0
        statement = self._dialect.spelt(_PRUNE.format(before=self._dialect.before))
        while True:
            with self._transaction() as cursor:
                cursor.execute(statement, (self._consumer, older_s, PRUNED_AT_ONCE))
                found = int(cursor.rowcount)
            gone += found
            if found < PRUNED_AT_ONCE:
                return gone

    def close(self) -> None:
        """Close the connection; the next call opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):  # it is given up: however its driver complains
                connection.close()

    def _noted(self, cursor: Any, event: CloudEvent, fault: str | None) -> bool:
        kept = None if fault is None else json.dumps(event)
        values = (self._consumer, str(event["source"]), str(event["id"]), fault, kept)
        cursor.execute(self._dialect.spelt(_NOTE), values)
        return bool(cursor.rowcount == 1)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Yield a cursor; committed at the end, rolled back when anything is raised."""
        try:
            if self._connection is None:
                self._connection = self._dialect.connect(self._place)
            yield (cursor := self._connection.cursor())
            self._connection.commit()
            cursor.close()
        except BaseException as fault:
            self._undo()
            if isinstance(fault, Exception) and self._dialect.away(fault):
                self.close()
                raise Unavailable("inbox") from fault
            raise

    def _undo(self) -> None:
        try:
            if self._connection is not None:
                self._connection.rollback()
        except Exception:
            self.close()
