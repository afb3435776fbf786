"""Open transactions side by side: each runs one statement, waits for locks as it must, commits when told."""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2.extras import RealDictCursor

from tests.support.servers import DatabaseUrls

LOOK_S = 0.003
POLLS = 2000
DEADLOCK = "-c deadlock_timeout=100ms"

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """One statement of one transaction; `settle` hears of its rows once they are committed."""

    name: str
    statement: str
    values: Sequence[Any]
    settle: Callable[[Rows], None]
    system: bool = False


class Wire:
    """One asynchronous connection of a role."""

    def __init__(self, url: str) -> None:
        self._raw = psycopg2.connect(url, async_=True)
        self._finish()
        self._cursor = self._raw.cursor(cursor_factory=RealDictCursor)
        self.pid = self._raw.info.backend_pid

    def send(self, statement: str, values: Sequence[Any] = ()) -> None:
        """Send a statement; `ready` tells when its answer is there."""
        self._cursor.execute(statement, tuple(values) or None)

    def ready(self) -> bool:
        """Wait a moment for the answer; raises what the server answers with, a deadlock too."""
        state = self._raw.poll()
        if state == psycopg2.extensions.POLL_OK:
            return True
        waits = state == psycopg2.extensions.POLL_WRITE
        select.select([self._raw] if not waits else [], [self._raw] if waits else [], [], LOOK_S)
        return bool(self._raw.poll() == psycopg2.extensions.POLL_OK)

    def rows(self) -> Rows:
        return [dict(row) for row in self._cursor.fetchall()] if self._cursor.description else []

    def do(self, statement: str) -> None:
        """Execute what nobody can hold up."""
        self.send(statement)
        self._finish()

    def close(self) -> None:
        self._raw.close()

    def _finish(self) -> None:
        while self._raw.poll() != psycopg2.extensions.POLL_OK:
            select.select([self._raw], [self._raw], [], LOOK_S)


class Lane:
    """A place for one transaction at a time: idle, waiting for a lock, or done but not committed."""

    def __init__(self, urls: DatabaseUrls, blocked: Callable[[int], bool]) -> None:
        self._wires = {False: Wire(urls.app), True: Wire(urls.system)}
        self._blocked = blocked
        self.call: Call | None = None
        self.done = False

    @property
    def idle(self) -> bool:
        return self.call is None

    def begin(self, call: Call) -> None:
        """Open the transaction, execute its statement as far as locks let it go."""
        self.call, self.done = call, False
        self._wire.send(f"BEGIN; {call.statement}", call.values)
        self.pump()

    def pump(self) -> None:
        """Let the statement go on until it is done, or waits for somebody."""
        if self.call is None or self.done:
            return
        for _ in range(POLLS):
            if self._wire.ready():
                self.done = True
                return
            if self._blocked(self._wire.pid):
                return
        raise AssertionError(f"{self.call.name} neither ends nor waits for a lock")

    def commit(self) -> None:
        """Commit, and tell whom it concerns."""
        assert self.call is not None and self.done
        call, rows = self.call, self._wire.rows()
        self._wire.do("COMMIT")
        self.call = None
        call.settle(rows)

    def roll_back(self) -> None:
        """End the transaction as a crash would: nothing of it stays."""
        self._wire.do("ROLLBACK")
        self.call = None

    def close(self) -> None:
        for wire in self._wires.values():
            wire.close()

    @property
    def pid(self) -> int | None:
        """The backend whose transaction is open here."""
        return None if self.call is None else self._wire.pid

    @property
    def _wire(self) -> Wire:
        assert self.call is not None
        return self._wires[self.call.system]


class Lanes:
    """All lanes of a test with the onlooker's connection."""

    def __init__(self, urls: DatabaseUrls, count: int) -> None:
        with closing(psycopg2.connect(urls.admin)) as admin, admin.cursor() as cursor:
            admin.autocommit = True
            # A deadlock must be told at once; only a superuser sets how soon PostgreSQL looks for one.
            cursor.execute(
                "SELECT format('ALTER DATABASE %I SET deadlock_timeout = ''100ms''', current_database())"
            )
            found = cursor.fetchone()
            assert found is not None
            cursor.execute(found[0])
        self._onlooker = psycopg2.connect(urls.admin)
        self._onlooker.autocommit = True
        self.all = [Lane(urls, self._blocked) for _ in range(count)]

    def look(self, statement: str, *values: Any) -> Rows:
        """Read what is committed, past every policy."""
        with self._onlooker.cursor(cursor_factory=RealDictCursor) as cursor:
            cursor.execute(statement, values or None)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def commit(self, lane: Lane) -> None:
        """Commit one, then let those go on that waited for it."""
        lane.commit()
        self.pump()

    def roll_back(self, lane: Lane) -> None:
        lane.roll_back()
        self.pump()

    def pump(self) -> None:
        for lane in self.all:
            lane.pump()

    def finish(self) -> None:
        """Commit everything."""
        while any(not lane.idle for lane in self.all):
            done = [lane for lane in self.all if lane.done and not lane.idle]
            assert done, "all wait for each other"
            self.commit(done[0])

    def clear(self) -> None:
        """Roll back what a failed example left."""
        for _ in range(len(self.all)):
            for lane in self.all:
                if not lane.idle and lane.done:
                    lane.roll_back()
            self.pump()

    def close(self) -> None:
        for lane in self.all:
            lane.close()
        self._onlooker.close()

    def _blocked(self, pid: int) -> bool:
        """Tell whether an open transaction holds it up; the server may still name one just committed."""
        pids = [lane.pid for lane in self.all if lane.pid is not None]
        return bool(self.look("SELECT pg_blocking_pids(%s) && %s AS yes", pid, pids)[0]["yes"])
