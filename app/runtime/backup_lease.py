"""The lease of the one process that makes a backup, kept while it works."""

from __future__ import annotations

import threading
from types import TracebackType

from app.db import backups
from app.db.engine import Database
from app.domain.errors import QuantumError
from app.runtime.failure import RuntimeFailure

LEASE_S = 60.0
RENEW_S = 10.0


class BackupLease:
    """Held from `take` on: a thread renews it until the end; `check` raises when it was lost."""

    def __init__(
        self, system: Database, owner: str, lease_s: float = LEASE_S, renew_s: float = RENEW_S
    ) -> None:
        self._system = system
        self._owner = owner
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._over = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="backup-lease", daemon=True)

    def take(self) -> bool:
        """Take the lease; False when another process has it. Raises Unavailable."""
        return backups.take_lease(self._system, self._owner, self._lease_s)

    def __enter__(self) -> BackupLease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        try:
            backups.give_lease_up(self._system, self._owner)
        except QuantumError:
            return  # the database is away: the lease runs out by itself

    def check(self) -> None:
        """Raise `RuntimeFailure` when another process may hold the lease by now."""
        if self._lost.is_set():
            raise RuntimeFailure("the lease of the backup was lost: another process makes one")

    def _renew(self) -> None:
        while not self._over.wait(self._renew_s):
            try:
                if not backups.take_lease(self._system, self._owner, self._lease_s):
                    self._lost.set()
                    return
            except QuantumError:
                continue  # the database is away: so is everybody else's
