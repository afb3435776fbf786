"""What the contract of sinks needs of each: what arrived, a way to refuse, to break, to mend."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

import redis
from kombu import Connection, Exchange, Queue

from app.messaging.event_hub import EventHub
from app.messaging.rabbit_topic import RabbitTopic
from app.messaging.streams import DEAD_STREAM, RedisStreams, StreamLimits, connect_streams, stream_of
from app.runtime.valkey import ValkeyServer
from app.services.relay import Sink
from tests.support.eventhub_peer.process import HUB, HubPeer

Envelope = dict[str, Any]


class SinkKit(Protocol):
    """One sink under test."""

    def sink(self, event_bytes: int = 256 * 1024) -> Sink:
        """Return a sink that is not connected yet."""

    def arrived(self) -> list[Envelope]:
        """Return every envelope so far, those of one subject in the order of arrival."""

    def buried(self) -> list[Envelope] | None:
        """Return the envelopes among the dead letters; None of a sink that keeps none."""

    def refuse(self, tenant: UUID, type_: str) -> Callable[[], None]:
        """Let the server refuse the tenant's events of this type alone; return what mends it."""

    def breaks(self) -> Callable[[], None]:
        """Take the server away; return what brings it back, with all it confirmed."""


class RedisKit:
    """Redis Streams on the test process's Valkey."""

    def __init__(self, server: ValkeyServer) -> None:
        self._server = server
        self._client = redis.Redis.from_url(server.url, decode_responses=True)
        self._client.flushall()

    def sink(self, event_bytes: int = 256 * 1024) -> Sink:
        return RedisStreams(connect_streams(self._server.url), StreamLimits(event_bytes=event_bytes))

    def arrived(self) -> list[Envelope]:
        streams = [key for key in self._client.scan_iter("quantum:events:*-*") if self._is_stream(key)]
        return [self._envelope(fields) for key in streams for _, fields in self._client.xrange(key)]

    def buried(self) -> list[Envelope]:
        return [self._envelope(fields) for _, fields in self._client.xrange(DEAD_STREAM)]

    def refuse(self, tenant: UUID, type_: str) -> Callable[[], None]:
        """Refuse all of the tenant: its stream is the lane."""
        self._client.set(stream_of(tenant), "not a stream")
        return lambda: self._client.delete(stream_of(tenant))

    def breaks(self) -> Callable[[], None]:
        """Stop the server; it comes back empty, which the relay has to mend as well."""
        self._server.stop()
        return self._server.start

    def close(self) -> None:
        self._client.close()

    def _is_stream(self, key: str) -> bool:
        return bool(self._client.type(key) == "stream")

    @staticmethod
    def _envelope(fields: dict[str, str]) -> Envelope:
        return dict(json.loads(fields["event"]))


class Breakable(Protocol):
    """A server that keeps what it confirmed over a kill."""

    url: str

    def kill(self) -> None:
        """Kill it with -9."""

    def start(self) -> None:
        """Start it over what it kept."""


class RabbitKit:
    """A topic exchange with one durable queue that gets everything."""

    def __init__(self, node: Breakable, exchange: str) -> None:
        self._url, self._node, self._name = node.url, node, exchange
        self.exchange = exchange
        self._seen: dict[str, list[Envelope]] = {}
        sink = RabbitTopic(self._url, exchange, 1024)
        sink.publish("", {})  # declares
        sink.close()
        self._bind("all", "#")

    def sink(self, event_bytes: int = 256 * 1024) -> Sink:
        return RabbitTopic(self._url, self._name, event_bytes)

    def arrived(self) -> list[Envelope]:
        return self._drained(f"{self._name}.all")

    def buried(self) -> list[Envelope]:
        return self._drained(f"{self._name}.dead")

    def refuse(self, tenant: UUID, type_: str) -> Callable[[], None]:
        """Bind a queue to the type that has no room: RabbitMQ then answers nack."""
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        key = f"{tenant}.{type_.removeprefix('io.quantum.')}"
        queue = self._bind("full", key, **full)

        def mend() -> None:
            with Connection(self._url) as connection:
                queue(connection.default_channel).delete()

        return mend

    def breaks(self) -> Callable[[], None]:
        self._node.kill()
        return self._node.start

    def close(self) -> None:
        with Connection(self._url) as connection:
            for name in ("all", "full", "dead"):
                Queue(f"{self._name}.{name}")(connection.default_channel).delete()

    def _bind(self, name: str, key: str, **arguments: Any) -> Queue:
        exchange = Exchange(self._name, type="topic", durable=True)
        queue = Queue(f"{self._name}.{name}", exchange, key, durable=True, queue_arguments=arguments)
        with Connection(self._url) as connection:
            queue(connection.default_channel).declare()
        return queue

    def _drained(self, name: str) -> list[Envelope]:
        found = self._seen.setdefault(name, [])
        with Connection(self._url) as connection:
            queue = Queue(name, durable=True)(connection.default_channel)
            while (message := queue.get(no_ack=True)) is not None:
                found.append(json.loads(message.body))
        return found


class HubKit:
    """Event Hubs as the local peer plays it."""

    def __init__(self, peer: HubPeer, sinks: dict[int, EventHub]) -> None:
        self._peer = peer
        self._sinks = sinks
        """By the size of events: to open a link takes the SDK a second, so tests share them."""
        self._before = len(peer.arrived())

    def sink(self, event_bytes: int = 256 * 1024) -> Sink:
        return self._sinks.setdefault(event_bytes, EventHub(self._peer.url, HUB, event_bytes))

    def arrived(self) -> list[Envelope]:
        return self._peer.arrived()[self._before :]

    def buried(self) -> list[Envelope] | None:
        return None

    def refuse(self, tenant: UUID, type_: str) -> Callable[[], None]:
        self._peer.tell(f"matching /tenants/{tenant}")
        return lambda: self._peer.tell("matching")

    def breaks(self) -> Callable[[], None]:
        self._peer.kill()
        return self._peer.start
