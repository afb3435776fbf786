"""The event sink on Redis Streams: one stream for each tenant, fenced by an epoch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID, uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.domain.errors import Unavailable
from app.domain.events import Event
from app.domain.relay import (
    EPOCH_LOST,
    BatchResult,
    Blame,
    Lane,
    Memory,
    Outgoing,
    Receipt,
    body_of,
    fitting,
    gap_marker,
)

PREFIX = "quantum:events:"
EPOCH_KEY = PREFIX + "epoch"
POSITIONS_KEY = PREFIX + "positions"
DEAD_STREAM = PREFIX + "dead"
PATIENCE_S = 5.0
# The server as a whole refuses: no event is to blame.
SERVER_FAULTS = ("OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "BUSY", "MASTERDOWN", "CLUSTERDOWN")

# Both scripts act only while the server still is of the epoch that the relay saw: a flush or restart between
# look and write loses nothing unseen.
SAME_EPOCH = """
local marker = redis.call('GET', KEYS[1])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if not marker or marker .. ':' .. run ~= ARGV[1] then return {-1, 'EPOCH'} end
"""
# One call for each stream: entries are added in order up to the first fault, so that none overtakes another.
PUBLISH = (
    SAME_EPOCH
    + """
local added = 0
for at = 4, #ARGV, 2 do
  local answer = redis.pcall('XADD', KEYS[2], '*', 'id', ARGV[at], 'event', ARGV[at + 1])
  if type(answer) == 'table' and answer.err then return {added, answer.err} end
  added = added + 1
end
redis.call('XTRIM', KEYS[2], 'MAXLEN', '~', ARGV[2])
local now = redis.call('TIME')
redis.call('XTRIM', KEYS[2], 'MINID', '~', string.format('%.0f', now[1] * 1000 - ARGV[3]))
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return {added, ''}
"""
)
CONFIRM = (
    SAME_EPOCH
    + """
for at = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
return {0, ''}
"""
)


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much the streams keep: entries (about) and seconds of each stream, bytes of one event."""

    entries: int = 100_000
    age_s: float = 24 * 3600
    event_bytes: int = 256 * 1024


def stream_of(tenant_id: UUID) -> str:
    """Return the key of the tenant's stream."""
    return f"{PREFIX}{tenant_id}"


def connect_streams(url: str) -> redis.Redis:
    """Return a client that tells of each broken connection at once: the relay itself decides to repeat."""
    return redis.Redis.from_url(
        url,
        socket_timeout=PATIENCE_S,
        socket_connect_timeout=PATIENCE_S,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


class RedisStreams:
    """Publishes CloudEvents; each entry has the fields `id` and `event`, the JSON envelope."""

    name = "redis"

    def __init__(self, client: redis.Redis, limits: StreamLimits) -> None:
        self._client = client
        self._limits = limits
        self.memory = self

    def lane(self, event: Event) -> Lane:
        """Return the tenant's stream: an event that it refuses holds what comes after it there."""
        return event.tenant_id, ""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def look(self) -> Memory:
        """Return what the server remembers; raises Unavailable while it does not answer."""
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.set(EPOCH_KEY, uuid4().hex, nx=True)
                pipe.get(EPOCH_KEY)
                pipe.info("server")
                pipe.hgetall(POSITIONS_KEY)
                _, marker, server, positions = pipe.execute()
        except redis.RedisError as error:
            raise Unavailable(self.name) from error
        told = {int(shard): int(position) for shard, position in positions.items()}
        return Memory(f"{marker}:{server['run_id']}", told)

    def confirm(self, epoch: str, positions: Mapping[int, int]) -> None:
        """Note beside the streams how far each shard is delivered; raises Unavailable.

        The server writes it after the entries it speaks of: what it remembers of the one proves the other.
        """
        flat = [str(number) for pair in positions.items() for number in pair]
        try:
            self._client.eval(CONFIRM, 2, EPOCH_KEY, POSITIONS_KEY, epoch, *flat)
        except redis.RedisError as error:
            raise Unavailable(self.name) from error

    def publish(self, epoch: str, batches: Mapping[Lane, Sequence[Outgoing]]) -> Receipt:
        """Append each tenant's events to its stream in order, all tenants in one round trip.

        A batch stops at its first fault. Raises Unavailable when the server as a whole refuses.
        """
        bodies = {lane: [body_of(one) for one in batch] for lane, batch in batches.items()}
        fit = {lane: fitting(found, self._limits.event_bytes) for lane, found in bodies.items()}
        limits = (str(self._limits.entries), str(int(self._limits.age_s * 1000)))
        try:
            with self._client.pipeline(transaction=False) as pipe:
                for lane, batch in batches.items():
                    entries = zip(batch[: fit[lane]], bodies[lane], strict=False)
                    flat: list[Any] = [part for one, body in entries for part in (str(one.event.id), body)]
                    pipe.eval(PUBLISH, 2, EPOCH_KEY, stream_of(lane[0]), epoch, *limits, *flat)
                answers = pipe.execute(raise_on_error=False)
        except redis.RedisError as error:
            raise Unavailable(self.name) from error
        results = {}
        for lane, answer in zip(batches, answers, strict=True):
            results[lane] = self._result(answer, fit[lane], len(batches[lane]))
            if results[lane].fault == EPOCH_LOST:
                return Receipt(True, {})
        return Receipt(False, results)

    def bury(self, event: Event, reason: str, attempts: int) -> None:
        """Append the event that could not be delivered to the dead-letter stream.

        Raises Unavailable when the server does not take it.
        """
        body = json.dumps(event.cloud_event())
        if len(body) > self._limits.event_bytes:
            body = json.dumps(gap_marker(event))
        entry = {
            "id": str(event.id),
            "tenant": str(event.tenant_id),
            "reason": reason,
            "attempts": attempts,
            "event": body,
        }
        try:
            self._client.xadd(DEAD_STREAM, cast(Any, entry), maxlen=self._limits.entries, approximate=True)
        except redis.RedisError as error:
            raise Unavailable(self.name) from error

    def _result(self, answer: Any, fit: int, wanted: int) -> BatchResult:
        fault = str(answer) if isinstance(answer, Exception) else answer[1]
        if fault == "EPOCH":
            return BatchResult(0, EPOCH_LOST)
        if fault.removeprefix("-").startswith(SERVER_FAULTS):
            raise Unavailable(self.name, fault)
        sent = 0 if isinstance(answer, Exception) else int(answer[0])
        if not fault and fit < wanted:
            return BatchResult(sent, f"larger than {self._limits.event_bytes} bytes", Blame.FOREVER)
        return BatchResult(sent, fault or None)
