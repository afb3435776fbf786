"""A store of artifacts behind a circuit breaker: while it is away nobody waits for its time-outs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from app.domain.artifacts import STORE, ArtifactStore
from app.domain.breakers import BreakerRules
from app.domain.errors import QuantumError, Unavailable
from app.observability.breakers import Guard

RULES: Final = BreakerRules(failures=3, first_s=5.0, most_s=30.0)
"""It is asked again soon: steps wait for it."""


@dataclass(frozen=True, slots=True)
class GuardedStore:
    """Refuses at once while the breaker is open; what the store says of a content is no failure of it."""

    store: ArtifactStore
    guard: Guard

    def put(self, tenant_id: UUID, sha256: str, content: bytes) -> None:
        """Keep the content; raises as the port says."""
        with self._asked():
            self.store.put(tenant_id, sha256, content)

    def read(self, tenant_id: UUID, sha256: str) -> Iterator[bytes]:
        """Yield the content piece by piece; raises as the port says, before the first piece."""
        with self._asked():
            pieces = self.store.read(tenant_id, sha256)
        return self._pieces(pieces)

    def size(self, tenant_id: UUID, sha256: str) -> int | None:
        """Return how many bytes are kept, None for no such content; raises as the port says."""
        with self._asked():
            return self.store.size(tenant_id, sha256)

    def delete(self, tenant_id: UUID, sha256: str) -> None:
        """Forget the content."""
        with self._asked():
            self.store.delete(tenant_id, sha256)

    def sweep(self, older_s: float) -> int:
        """Remove what dead writers left."""
        with self._asked():
            return self.store.sweep(older_s)

    def _pieces(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except Unavailable:
            self.guard.failed()
            raise

    @contextmanager
    def _asked(self) -> Iterator[None]:
        if not self.guard.allows():
            raise Unavailable(STORE, f"the {STORE} is away: it is asked again in {self.guard.left_s:.0f} s")
        try:
            yield
        except Unavailable:
            self.guard.failed()
            raise
        except QuantumError:
            self.guard.succeeded()  # it answered
            raise
        self.guard.succeeded()
