"""A consumer of Redis Streams: one member of a group, each stream read by one member at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import redis

from app.consumers.handling import Handling, Stopped, parsed
from app.messaging.streams import PREFIX, stream_of
from app.observability.logging import get_log

log = get_log(__name__)

TENANTS = PREFIX + "????????-????-????-????-????????????"
# Who reads which stream: a hash of owners, another of when their lease ends, the members by when they count
# as gone. A member keeps what it has up to its fair share, takes what is free, gives up what exceeds it.
LEASES = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me, until_ms = ARGV[1], now + ARGV[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], until_ms, me)
local streams = #ARGV - 2
local share = math.ceil(streams / redis.call('ZCARD', KEYS[1]))
local mine, free = {}, {}
for at = 3, #ARGV do
  local owner = redis.call('HGET', KEYS[2], ARGV[at])
  local ends = tonumber(redis.call('HGET', KEYS[3], ARGV[at]) or 0)
  if owner == me then table.insert(mine, ARGV[at])
  elseif not owner or ends < now then table.insert(free, ARGV[at]) end
end
local held = {}
for _, stream in ipairs(mine) do
  if #held < share then table.insert(held, stream)
  else redis.call('HDEL', KEYS[2], stream) end
end
for _, stream in ipairs(free) do
  if #held < share then table.insert(held, stream) end
end
for _, stream in ipairs(held) do
  redis.call('HSET', KEYS[2], stream, me)
  redis.call('HSET', KEYS[3], stream, until_ms)
end
return held
"""
LEAVE = """
redis.call('ZREM', KEYS[1], ARGV[1])
for at = 2, #ARGV do
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[1] then redis.call('HDEL', KEYS[2], ARGV[at]) end
end
"""


@dataclass(frozen=True, slots=True)
class StreamRules:
    """Seconds, but for `batch` entries read at once.

    A member that is silent for `lease_s` loses its streams; what it had read goes to who gets them.
    """

    batch: int = 100
    lease_s: float = 10.0
    block_s: float = 1.0
    pause_s: float = 1.0
    forget_member_s: float = 3600.0


@dataclass(slots=True)
class StreamConsumer:
    """One member of the consumer group `group` over the streams of `tenants`, of all when there are none.

    Two members that read one stream would handle events of one subject side by side: so a stream has one
    reader, under a lease, who first handles what the group gave to a reader that is gone (XAUTOCLAIM).
    """

    client: redis.Redis
    group: str
    member: str
    handling: Handling
    tenants: Sequence[UUID] = ()
    rules: StreamRules = StreamRules()
    from_now: bool = False
    """Whether a new group begins with what comes next, not with what the streams hold."""
    _held: tuple[str, ...] = ()
    _ready: set[str] = field(default_factory=set)
    """Streams whose group is there, whose orphaned entries are handled."""
    _claim_at: float = float("-inf")
    _lost_at: float = float("-inf")

    def run(self, idle: Callable[[], bool] = lambda: False) -> None:
        """Consume until the handling is told to stop, or `idle` says so after a turn without events."""
        stop = self.handling.stop
        try:
            while not stop.is_set():
                try:
                    taken = self.turn()
                except redis.RedisError as away:
                    log.warning("consumer_waits", part="redis", reason=type(away).__name__)
                    self._ready.clear()
                    self._claim_at = float("-inf")
                    stop.wait(self.rules.pause_s)
                    continue
                if not taken:
                    self.handling.tidy()
                    if idle():
                        return
        except Stopped:
            pass  # what is not acknowledged comes again
        finally:
            self._leave()

    def turn(self) -> int:
        """Handle one batch of each stream that is held, return its size. Raises Stopped, RedisError."""
        self._keep()
        if not self._held:
            self.handling.stop.wait(self.rules.block_s)
            return 0
        taken = sum(self._prepared(stream) for stream in self._held if stream not in self._ready)
        wanted: Any = {stream: ">" for stream in self._held if stream in self._ready}
        if not wanted:
            return taken
        block = None if taken else int(self.rules.block_s * 1000)
        try:
            found: Any = self.client.xreadgroup(
                self.group, self.member, wanted, count=self.rules.batch, block=block
            )
        except redis.ResponseError as refusal:
            if not str(refusal).startswith("NOGROUP"):
                raise
            self._ready.clear()  # the server was flushed: the groups are made anew
            return taken
        pairs = found.items() if isinstance(found, dict) else found or ()
        return taken + sum(self._handled(stream, entries) for stream, entries in pairs)

    def _keep(self) -> None:
        """Renew the leases when a third of their time is over."""
        now = self.handling.clock()
        if now < self._claim_at:
            return
        streams = [stream_of(one) for one in self.tenants] or self._all()
        milliseconds = int(self.rules.lease_s * 1000)
        held = cast(
            list[str],
            self.client.eval(LEASES, 3, *self._keys(), self.member, milliseconds, *streams),
        )
        self._held = tuple(held)
        self._ready &= set(held)
        self._claim_at, self._lost_at = now + self.rules.lease_s / 3, now + self.rules.lease_s

    def _prepared(self, stream: str) -> int:
        """Make the group, then handle what it gave to readers that do not hold the stream any more."""
        try:
            self.client.xgroup_create(stream, self.group, "$" if self.from_now else "0", mkstream=True)
        except redis.ResponseError as refusal:
            if not str(refusal).startswith("BUSYGROUP"):
                raise
        taken, cursor = 0, "0-0"
        while True:
            answer: Any = self.client.xautoclaim(
                stream, self.group, self.member, 0, cursor, count=self.rules.batch
            )
            # What was trimmed is told apart; by older servers, as entries without an id.
            cursor, entries = answer[0], [one for one in answer[1] if one[0] is not None]
            trimmed = answer[2] if len(answer) > 2 else [one for one in answer[1] if one[0] is None]  # noqa: PLR2004 - as above
            if trimmed:
                log.error("events_trimmed_before_handled", stream=stream, entries=len(trimmed))
            taken += self._handled(stream, entries)
            if stream not in self._held:
                return taken
            if cursor == "0-0":
                break
        self._forget_members(stream)
        self._ready.add(stream)
        return taken

    def _handled(self, stream: str, entries: Sequence[tuple[str, dict[str, str]]]) -> int:
        """Handle entries in order, then acknowledge them, as long as the stream is held."""
        done: list[str] = []
        try:
            for entry_id, fields in entries:
                self._keep()
                if stream not in self._held or self.handling.clock() >= self._lost_at:
                    self._ready.discard(stream)
                    break
                self.handling.take(parsed(fields.get("event", ""), f"{stream}/{entry_id}"))
                done.append(entry_id)
        finally:
            if done:
                self.client.xack(stream, self.group, *done)
        return len(done)

    def _forget_members(self, stream: str) -> None:
        """Remove members from the group that are silent for long; none of them has anything open."""
        infos: Any = self.client.xinfo_consumers(stream, self.group)
        for info in infos:
            name, pending, idle_ms = info["name"], info["pending"], info["idle"]
            if name != self.member and not pending and idle_ms > self.rules.forget_member_s * 1000:
                self.client.xgroup_delconsumer(stream, self.group, name)

    def _all(self) -> list[str]:
        found = self.client.scan_iter(TENANTS, count=1000, _type="stream")
        return sorted(str(key) for key in found)

    def _keys(self) -> tuple[str, str, str]:
        prefix = f"quantum:consumers:{{{self.group}}}"
        return f"{prefix}:members", f"{prefix}:owners", f"{prefix}:leases"

    def _leave(self) -> None:
        try:
            self.client.eval(LEAVE, 2, *self._keys()[:2], self.member, *self._held)
        except redis.RedisError:
            log.warning("consumer_left_leases", member=self.member)  # they end by themselves
        self.client.close()
