"""The sinks under measure: what the relay uses, beside bare clients that send prebuilt bodies."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from azure.eventhub import EventData, EventHubProducerClient
from kombu import Connection, Exchange, Queue

from app.domain.events import PREFIX
from app.messaging.event_hub import CONTENT_TYPE, EventHub, partition_for
from app.messaging.rabbit_topic import PATIENCE_S, PERSISTENT, RabbitTopic
from app.messaging.streams import RedisStreams, StreamLimits, connect_streams, stream_of
from app.services.relay import Sink
from tests.services.rabbitmq import SERVER, rabbitmq_node
from tests.support.eventhub_peer.hub import bodies
from tests.support.eventhub_peer.process import HUB, HubPeer

EVENT_BYTES = 256 * 1024
PARTITIONS = 4


def batched(events: Sequence[Ready], size: int) -> Iterator[Sequence[Ready]]:
    """Yield the events in batches."""
    for at in range(0, len(events), size):
        yield events[at : at + size]


class Ready(NamedTuple):
    """An event with its body as the relay sends it."""

    id: str
    tenant: UUID
    subject: str
    type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Target:
    """One sink: ours, the bare client, how many events it holds."""

    sink: Sink
    bare: Callable[[Sequence[Ready], int], None]
    """Sends all, so many events at once, known to be kept when it returns."""
    held: Callable[[], int]


@contextlib.contextmanager
def redis_target(url: str, tenants: Sequence[UUID]) -> Iterator[Target]:
    """Redis Streams; bare: pipelines of XADD."""
    limits = StreamLimits(entries=10_000_000)
    client = connect_streams(url)

    def bare(events: Sequence[Ready], batch: int) -> None:
        for some in batched(events, batch):
            with client.pipeline(transaction=False) as pipe:
                for one in some:
                    entry: Any = {"id": one.id, "event": one.body}
                    pipe.xadd(stream_of(one.tenant), entry, maxlen=limits.entries, approximate=True)
                pipe.execute()

    def held() -> int:
        return sum(int(client.xlen(stream_of(tenant))) for tenant in tenants)  # type: ignore[arg-type]  # not a coroutine here

    with contextlib.closing(RedisStreams(connect_streams(url), limits)) as sink:
        yield Target(sink, bare, held)
    client.close()


@contextlib.contextmanager
def rabbitmq_target() -> Iterator[Target | None]:
    """RabbitMQ with one durable queue that gets everything; None where none is installed.

    Bare: messages under publisher confirms, waited for after each batch.
    """
    if not SERVER.exists():
        yield None
        return
    name = f"bench-{uuid4().hex[:8]}"
    exchange = Exchange(name, type="topic", durable=True)
    with rabbitmq_node() as node, Connection(node.url) as connection:
        channel: Any = connection.channel()
        channel.confirm_select()
        queue = Queue(f"{name}.all", exchange, "#", durable=True)(channel)
        exchange(channel).declare()
        queue.declare()
        open_: set[int] = set()

        def acked(tag: int, multiple: bool) -> None:
            open_.difference_update([at for at in open_ if at <= tag] if multiple else [tag])

        channel.events["basic_ack"].add(acked)
        sent = 0

        def bare(events: Sequence[Ready], batch: int) -> None:
            nonlocal sent
            for some in batched(events, batch):
                for one in some:
                    properties = {"delivery_mode": PERSISTENT, "message_id": one.id}
                    message = channel.prepare_message(one.body, None, CONTENT_TYPE, "utf-8", {}, properties)
                    sent += 1
                    open_.add(sent)
                    key = f"{one.tenant}.{one.type.removeprefix(PREFIX)}"
                    channel.basic_publish(message, exchange.name, key)
                while open_:
                    connection.drain_events(timeout=PATIENCE_S)

        def held() -> int:
            with Connection(node.url) as other:
                return int(queue(other.channel()).queue_declare(passive=True).message_count)

        with contextlib.closing(RabbitTopic(node.url, name, EVENT_BYTES)) as sink:
            yield Target(sink, bare, held)


@contextlib.contextmanager
def hub_target(folder: Path) -> Iterator[Target]:
    """Event Hubs as the local AMQP peer plays it; bare: batches filled for each partition."""
    peer = HubPeer(folder, PARTITIONS)
    peer.start()
    client = EventHubProducerClient.from_connection_string(peer.url, eventhub_name=HUB, retry_total=0)
    partitions = tuple(client.get_partition_ids())

    def bare(events: Sequence[Ready], batch: int) -> None:
        for some in batched(events, batch):
            by_partition: dict[str, list[Ready]] = defaultdict(list)
            for one in some:
                by_partition[partition_for((one.tenant, one.subject), partitions)].append(one)
            for partition, ready in by_partition.items():
                filled: Any = client.create_batch(partition_id=partition)
                for one in ready:
                    data = EventData(one.body)
                    data.content_type, data.message_id = CONTENT_TYPE, one.id
                    try:
                        filled.add(data)
                    except ValueError:  # it is full
                        client.send_batch(filled)
                        filled = client.create_batch(partition_id=partition)
                        filled.add(data)
                client.send_batch(filled)

    def held() -> int:
        return len(bodies(folder / f"{HUB}.log"))

    try:
        with contextlib.closing(EventHub(peer.url, HUB, EVENT_BYTES)) as sink:
            yield Target(sink, bare, held)
    finally:
        client.close()
        peer.kill()
