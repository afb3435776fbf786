"""Where one request reads from: the replica where that is new enough, else the primary."""

from __future__ import annotations

from app.db.engine import Database
from app.db.replica import Replica
from app.domain.errors import NotFound, QuantumError, Unavailable
from app.observability.metrics import REPLICA_READS


class ReadSource:
    """The choice for one request, made at its first read.

    Only for what a caller is shown. Whatever decides (claims, idempotency, standing, limits) reads from the
    primary, which it has without asking here.
    """

    def __init__(self, primary: Database, replica: Replica | None, after: int | None) -> None:
        self._primary = primary
        self._replica = replica
        self._after = after
        self._chosen: Database | None = None

    def database(self) -> Database:
        """Return the database to read from; it has what was committed up to the position asked for."""
        if self._replica is None:
            return self._primary
        if self._chosen is None:
            refused = self._replica.refusal(self._after)
            if refused is None:
                self._chosen = self._replica.database
                REPLICA_READS.labels("replica", "new_enough").inc()
            else:
                self._to_primary(refused)
        return self._chosen or self._primary

    def again(self, fault: Exception) -> bool:
        """Tell whether a fault may be the replica's alone: then from now on the primary is read.

        A row that is not there may only not have come yet (a client takes a 404 for final); so may a column,
        right after a migration.
        """
        if self._replica is None or self._chosen is not self._replica.database:
            return False
        if isinstance(fault, NotFound):
            self._to_primary("not_found")
        elif isinstance(fault, Unavailable) and fault.part == "database":
            self._replica.failed()
            self._to_primary("failed")
        elif not isinstance(fault, QuantumError):
            self._to_primary("failed")
        else:
            return False
        return True

    def _to_primary(self, why: str) -> None:
        self._chosen = self._primary
        REPLICA_READS.labels("primary", why).inc()
