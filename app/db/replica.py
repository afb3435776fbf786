"""A streaming replica: watched by a thread, used while it is new enough."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import threading
import time
import weakref
from dataclasses import dataclass
from typing import Any, Final, Literal

import psycopg2
import psycopg2.extensions
from sqlalchemy import event

from app.db.engine import Database
from app.domain.errors import Unavailable
from app.domain.replication import LATEST, Freshness, parse_position
from app.observability.logging import get_log
from app.observability.metrics import REPLICA_LAG

log = get_log(__name__)

Refusal = Literal["away", "not_a_replica", "strayed", "lagging", "behind", "latest"]
"""Why a read goes to the primary: the first four hold for all reads, the others for one."""

ATTEND_S: Final = 0.003
"""How often the replica is asked while a request waits for it."""
CONNECT_TIMEOUT_S: Final = 2

# A commit is seen by others once it is flushed, unless nobody waits for that.
POSITION: Final = (
    "SELECT CASE current_setting('synchronous_commit') WHEN 'off' THEN pg_current_wal_insert_lsn()"
    " ELSE pg_current_wal_flush_lsn() END"
)
_CLUSTER: Final = "SELECT system_identifier FROM pg_control_system()"
_REPLAYED: Final = "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn()"


@dataclass(frozen=True, slots=True)
class ReplicaRules:
    """Bounds of the use of a replica, in seconds."""

    max_lag_s: float = 5.0
    wait_s: float = 0.05
    """How long a read with a token waits for the replica."""
    look_s: float = 0.25
    answer_s: float = 2.0
    """How long the replica may take to answer the watch: then every read that waits for it is cut off."""


def position(primary: Database) -> str:
    """Return where the primary's log is: behind everything committed until now; raises Unavailable."""
    return str(primary.call(POSITION)[0][0])


class Replica:
    """A standby of `primary` as the same role sees it; a thread of its own looks how new it is.

    Its connections hold no promise: `refusal` says when not to use them, and one that fails is no fault of
    the caller's, who asks the primary then.
    """

    def __init__(self, url: str, primary: Database, rules: ReplicaRules) -> None:
        self.database = Database(url, "replica", connect_timeout_s=CONNECT_TIMEOUT_S)
        self._url = url
        self._primary = primary
        self._rules = rules
        self._fresh = Freshness(rules.max_lag_s)
        self._refusal: Refusal | None = "away"
        self._told: Refusal | None = None
        self._replayed = -1
        self._changed = threading.Condition()
        self._waiting = 0
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._sockets: weakref.WeakKeyDictionary[Any, socket.socket] = weakref.WeakKeyDictionary()
        self._connecting = threading.Lock()
        event.listen(self.database.engine, "connect", self._remember)

    def refusal(self, after: int | None = None) -> Refusal | None:
        """Return why a read must not come here, None when it may: then the replica has replayed `after`."""
        self._start()
        if after == LATEST:
            return "latest"
        refused = self._present_refusal()
        if refused is None and after is not None and not self._reached(after):
            return "behind"
        return refused

    def failed(self) -> None:
        """Take note of a read that failed here: no other comes until the watch has seen the replica well."""
        self._refusal = "away"

    def probe(self) -> None:
        """Return when reads may come here; raises Unavailable."""
        if refused := self.refusal():
            raise Unavailable("replica", f"the replica is not used: {refused}")

    def close(self) -> None:
        """End the watch with the connections."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self.database.dispose()

    def _present_refusal(self) -> Refusal | None:
        if self._refusal is not None:
            return self._refusal
        # Told from the clock, not by the watch: that may itself wait for an answer.
        return "lagging" if self._fresh.lag(time.monotonic()) > self._rules.max_lag_s else None

    def _reached(self, after: int) -> bool:
        """Wait for the replay of `after`, for a short time."""
        if self._replayed >= after:
            return True
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._replayed >= after, self._rules.wait_s)
            finally:
                self._waiting -= 1

    def _start(self) -> None:
        """Start the watch in the process that serves: a thread does not survive a fork."""
        if self._thread is not None and self._thread.is_alive():
            return
        with self._changed:
            if self._stopped or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="replica-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            try:
                with contextlib.closing(_Line(self._url, self._rules.answer_s)) as line:
                    self._watch(line)
            except Exception as fault:
                # Whatever is wrong with it, reads go on from the primary, so this thread must go on.
                self._settle("away", type(fault).__name__)
                self._cut()
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, self._rules.look_s)

    def _watch(self, line: _Line) -> None:
        own = self._primary.call(_CLUSTER)
        follows = own[0][0] == line.ask(_CLUSTER)[0]
        while not self._stopped:
            self._look(line, follows=follows)
            self._attend(line)

    def _look(self, line: _Line, *, follows: bool) -> None:
        in_recovery, replayed = line.ask(_REPLAYED)
        if not follows or not in_recovery:
            self._settle("not_a_replica")
            return
        at = time.monotonic()
        with contextlib.suppress(Unavailable):  # nothing is known meanwhile, so the lag grows
            self._fresh.note(at, parse_position(position(self._primary)), parse_position(replayed))
        self._note_replayed(replayed)
        if self._fresh.strayed:
            self._settle("strayed")
        elif self._fresh.lag(at) > self._rules.max_lag_s:
            self._settle("lagging")
        else:
            self._settle(None)

    def _attend(self, line: _Line) -> None:
        """Wait for the next look; while a request waits for the replica, ask how far it is all the time."""
        until = time.monotonic() + self._rules.look_s
        while (left := until - time.monotonic()) > 0 and not self._stopped:
            with self._changed:
                wanted = self._changed.wait_for(lambda: self._waiting or self._stopped, left)
            if wanted and not self._stopped:
                self._note_replayed(line.ask(_REPLAYED)[1])
                time.sleep(ATTEND_S)

    def _note_replayed(self, replayed: str) -> None:
        with self._changed:
            self._replayed = parse_position(replayed)
            self._changed.notify_all()

    def _settle(self, refusal: Refusal | None, reason: str = "") -> None:
        """Make it known whether reads may come; a change is told in the log."""
        self._refusal = refusal
        lag = self._fresh.lag(time.monotonic())
        REPLICA_LAG.set(lag)
        if refusal == self._told:
            return
        self._told = refusal
        shown = None if math.isinf(lag) else round(lag, 3)
        if refusal is None:
            log.info("replica_used", lag_s=shown)
        else:
            log.warning("replica_not_used", refusal=refusal, lag_s=shown, reason=reason)

    def _remember(self, raw: Any, _record: object) -> None:
        # A second descriptor of the same socket: its number cannot come to mean another one.
        twin = socket.socket(fileno=os.dup(raw.fileno()))
        weakref.finalize(raw, twin.close)
        with self._connecting:
            self._sockets[raw] = twin

    def _cut(self) -> None:
        """Hang up for every read that is under way: a server that is frozen would never answer it."""
        with self._connecting:
            twins = list(self._sockets.values())
        for twin in twins:
            with contextlib.suppress(OSError):  # the other side was quicker
                twin.shutdown(socket.SHUT_RDWR)


class _Line:
    """One connection whose answers are waited for, but no longer than a bound."""

    def __init__(self, url: str, answer_s: float) -> None:
        self._answer_s = answer_s
        self._connection = psycopg2.connect(url, async_=1, application_name="quantum-replica-watch")
        self._settle()

    def ask(self, statement: str) -> tuple[Any, ...]:
        """Return the one row of a statement; raises psycopg2.Error, also when no answer comes in time."""
        cursor = self._connection.cursor()
        cursor.execute(statement)
        self._settle()
        return cursor.fetchall()[0]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _settle(self) -> None:
        until = time.monotonic() + self._answer_s
        while (state := self._connection.poll()) != psycopg2.extensions.POLL_OK:
            poll = select.poll()
            reading = state == psycopg2.extensions.POLL_READ
            poll.register(self._connection.fileno(), select.POLLIN if reading else select.POLLOUT)
            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
                raise psycopg2.OperationalError("no answer in time")
