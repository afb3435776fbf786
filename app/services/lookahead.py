"""The next events of the outbox, read while the sink takes those before them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from app.domain.errors import Unavailable
from app.domain.relay import Outgoing, Shard

Read = Callable[[tuple[Shard, ...]], tuple[Outgoing, ...]]


class Lookahead:
    """One read under way at most, in a thread of its own; the database works while Python does."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._thread: ThreadPoolExecutor | None = None
        self._wanted: tuple[Shard, ...] = ()
        self._coming: Future[tuple[Outgoing, ...]] | None = None

    def begin(self, shards: tuple[Shard, ...]) -> None:
        """Begin to read behind the shards' positions, as they will be when all went well."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "lookahead")
        self._wanted, self._coming = shards, self._thread.submit(self._read, shards)

    @property
    def begun(self) -> bool:
        """Whether something was begun that nobody took."""
        return self._coming is not None

    def take(self, shards: tuple[Shard, ...]) -> tuple[Outgoing, ...]:
        """Return what was read for just these shards, positions and epochs included; nothing for others."""
        coming, self._coming = self._coming, None
        if coming is None:
            return ()
        try:
            events = coming.result()
        except Unavailable:
            return ()  # whoever reads now sees for himself
        return events if shards == self._wanted else ()

    def close(self) -> None:
        """End the thread when its read has ended."""
        if self._thread is not None:
            self._thread.shutdown()
            self._thread, self._coming = None, None
