"""Wake-ups: who waits for events hears of new ones by LISTEN, over a connection past any pooler."""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable
from typing import Any

import psycopg2

from app.db.engine import Database
from app.observability.logging import get_log

log = get_log(__name__)

CHANNEL = "quantum_events"
LOOK_S = 1.0
"""How often the listener looks whether it should end."""
AGAIN_LEAST_S, AGAIN_MOST_S = 0.5, 10.0
CONNECT_TIMEOUT_S = 5


def tell(database: Database) -> None:
    """Wake the listeners, in a transaction of its own; raises Unavailable."""
    database.call("SELECT pg_notify(%s, '')", (CHANNEL,))


class Wakeups:
    """One thread that listens for all loops of a process; without a URL it hears nothing.

    A wake-up only shortens a wait, it carries nothing: one that is lost costs the rest of a poll's pause.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._changed = threading.Condition()
        self._rings = 0
        self._stopped = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to listen."""
        if self._url:
            self._thread = threading.Thread(target=self._run, name="wakeups", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End every wait, then the listener; safe in a signal's handler."""
        threading.Thread(target=self._stop, daemon=True).start()

    def stopped(self, seconds: float) -> bool:
        """Wait so long, whatever rings; return at once when it is over. Tell whether it is."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, seconds)
            return self._stopped

    def waiter(self) -> Callable[[float], bool]:
        """Return a wait like `stopped` for one loop: it ends at once if anything rang since its last one."""
        seen = self._rings

        def wait(seconds: float) -> bool:
            nonlocal seen
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._rings > seen, seconds)
                seen = self._rings
                return self._stopped

        return wait

    def ring(self) -> None:
        """Wake the loops of this process."""
        with self._changed:
            self._rings += 1
            self._changed.notify_all()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def _run(self) -> None:
        pause = AGAIN_LEAST_S
        while not self._stopped:
            try:
                with contextlib.closing(self._connected()) as connection:
                    pause = AGAIN_LEAST_S
                    self.ring()  # for what was told before the connection stood
                    self._listen(connection)
            except psycopg2.Error as fault:
                log.warning("wakeups_lost", reason=type(fault).__name__, again_s=pause)
                self.stopped(pause)
                pause = min(pause * 2, AGAIN_MOST_S)

    def _connected(self) -> Any:
        connection = psycopg2.connect(
            self._url,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="quantum-wakeups",
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        return connection

    def _listen(self, connection: Any) -> None:
        while not self._stopped:
            if select.select([connection], [], [], LOOK_S)[0]:
                connection.poll()
                if connection.notifies:
                    connection.notifies.clear()
                    self.ring()
