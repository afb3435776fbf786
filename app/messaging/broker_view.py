"""A look at what the Redis broker holds, for the recovery of lost messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import redis

from app.domain.errors import Unavailable
from app.domain.lost import BrokerView, QueueView
from app.messaging.broker_epoch import BrokerLink

UNACKED = "unacked"
UNACKED_INDEX = "unacked_index"
READ_AT_MOST = 2000
"""Messages read from a queue in one look, from the end that is consumed first."""


class RedisBrokerView:
    """Reads message ids from kombu's lists; `now` gives epoch seconds, which kombu's index uses."""

    def __init__(self, url: str, link: BrokerLink, now: Callable[[], float], timeout_s: float) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        self._link = link
        self._now = now

    def look(self, queues: Sequence[str]) -> BrokerView:
        """Return what the broker holds of `queues`; raises Unavailable when it does not answer."""
        epoch = self._link.refresh()
        if epoch is None:
            raise Unavailable("broker")
        try:
            return BrokerView(epoch, {name: self._queue(name) for name in queues}, self._delivered())
        except (OSError, redis.RedisError) as fault:
            raise Unavailable("broker") from fault

    def depths(self, queues: Sequence[str]) -> dict[str, int]:
        """Return how many messages wait in each of `queues`; raises Unavailable when it does not answer."""
        try:
            pipe = self._client.pipeline(transaction=False)
            for name in queues:
                pipe.llen(name)
            return dict(zip(queues, pipe.execute(), strict=True))
        except (OSError, redis.RedisError) as fault:
            raise Unavailable("broker") from fault

    def _queue(self, name: str) -> QueueView:
        pipe = self._client.pipeline(transaction=True)
        pipe.llen(name)
        pipe.lrange(name, -READ_AT_MOST, -1)
        length, messages = pipe.execute()
        ids = frozenset(_id(json.loads(raw)) for raw in messages)
        return QueueView(ids, length <= READ_AT_MOST, empty=length == 0)

    def _delivered(self) -> dict[str, float]:
        """Return the age of the delivery of each unconfirmed message, the oldest left out past the bound."""
        now = self._now()
        pairs: Any = self._client.zrange(UNACKED_INDEX, -READ_AT_MOST, -1, withscores=True)
        tags: dict[bytes, float] = dict(pairs)
        if not tags:
            return {}
        kept = self._client.hmget(UNACKED, list(tags))
        messages = zip(tags.values(), kept, strict=True)
        return {_id(json.loads(raw)[0]): now - at for at, raw in messages if raw is not None}


def _id(message: Any) -> str:
    return str(message["headers"]["id"])
