"""kombu's Redis transport, with its client objects kept."""

from __future__ import annotations

from typing import Any

from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):
    """Keeps one client for each pool: kombu makes a new one for every command, three for each message."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        create: Any = super()._create_client
        if asynchronous:
            return create(asynchronous=True)
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = create()
        return self._kept


class Transport(kombu_redis.Transport):
    """The transport whose channels keep their clients."""

    Channel = Channel
