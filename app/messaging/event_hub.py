"""The event sink on Azure Event Hubs: full batches for each partition, order kept per subject."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from azure.eventhub import EventData, EventDataBatch, EventHubProducerClient
from azure.eventhub.exceptions import EventDataSendError, EventHubError

from app.domain.errors import Unavailable
from app.domain.events import Event
from app.domain.relay import BatchResult, Blame, Lane, Outgoing, Receipt, body_of, fitting, subject_lane

CONTENT_TYPE = "application/cloudevents+json"
PATIENCE_S = 10
# Conditions that tell of the events in the batch; all others tell of the service, for which events wait.
OF_THE_EVENT = frozenset(
    {
        "argument-error",
        "argument-out-of-range",
        "decode-error",
        "invalid-field",
        "link:message-size-exceeded",
        "not-allowed",
    }
)


def partition_for(lane: Lane, partitions: Sequence[str]) -> str:
    """Return the partition of a subject: CRC-32 of `<tenant id>/<subject>`, modulo their number."""
    tenant, subject = lane
    return partitions[zlib.crc32(f"{tenant}/{subject}".encode()) % len(partitions)]


class EventHub:
    """Publishes structured CloudEvents; a hub keeps what it accepted.

    The partition is chosen here rather than by the service, which would take one subject in a batch only.
    """

    name = "eventhubs"
    memory = None

    def __init__(self, connection_string: str, hub: str, event_bytes: int) -> None:
        self._connection_string = connection_string
        self._hub = hub
        self._event_bytes = event_bytes
        self._link: _Link | None = None

    def lane(self, event: Event) -> Lane:
        """Return the event's subject."""
        return subject_lane(event)

    def publish(self, epoch: str, batches: Mapping[Lane, Sequence[Outgoing]]) -> Receipt:  # noqa: ARG002 - the port's signature
        """Send each partition's events in order, the next batch when the one before it is accepted.

        A partition stops at a refusal of the service. Raises Unavailable when the service does not answer and
        nothing was accepted before.
        """
        bodies = {lane: [body_of(one) for one in batch] for lane, batch in batches.items()}
        fit = {lane: fitting(texts, self._event_bytes) for lane, texts in bodies.items()}
        tally = _Tally(batches, fit, self._event_bytes)
        try:
            link = self._connected()
            for partition, items in _by_partition(batches, bodies, fit, link.partitions).items():
                _deliver(link, partition, items, tally)
        except (EventHubError, OSError, ValueError) as fault:
            # Half-open links, refused tokens, a hub that is gone: a new client begins from nothing.
            self.close()
            if not any(tally.sent.values()):
                raise Unavailable(self.name, f"event hubs: {type(fault).__name__}") from fault
            tally.interrupted = type(fault).__name__
        return Receipt(False, tally.results())

    def bury(self, event: Event, reason: str, attempts: int) -> None:
        """Keep nothing here: dead events stand in the database, the marker in the hub."""

    def close(self) -> None:
        """Close the client with its links."""
        link, self._link = self._link, None
        if link is not None:
            with suppress(EventHubError, OSError):
                link.client.close()

    def _connected(self) -> _Link:
        if self._link is None:
            # The pauses are the relay's: the SDK resends a rejected batch at once, then raises.
            client = EventHubProducerClient.from_connection_string(
                self._connection_string, eventhub_name=self._hub, retry_total=0, auth_timeout=PATIENCE_S
            )
            self._link = _Link(client, ())
            self._link = _Link(client, tuple(client.get_partition_ids()))
        return self._link


class _Link(NamedTuple):
    client: EventHubProducerClient
    partitions: tuple[str, ...]


class _Item(NamedTuple):
    lane: Lane
    event_id: str
    body: bytes

    def data(self) -> EventData:
        data = EventData(self.body)
        data.content_type = CONTENT_TYPE
        data.message_id = self.event_id
        return data


class _Tally:
    """What became of each lane's events."""

    def __init__(
        self, batches: Mapping[Lane, Sequence[Outgoing]], fit: Mapping[Lane, int], event_bytes: int
    ) -> None:
        self.sent = dict.fromkeys(batches, 0)
        self.faults: dict[Lane, tuple[str, Blame]] = {}
        self.interrupted = ""
        self._wanted = {lane: len(batch) for lane, batch in batches.items()}
        self._fit = fit
        self._event_bytes = event_bytes

    def accepted(self, items: Iterable[_Item]) -> None:
        """Count what the service accepted."""
        for item in items:
            self.sent[item.lane] += 1

    def refused(self, items: Iterable[_Item], reason: str, blame: Blame) -> None:
        """Note why the next event of each item's lane was not taken."""
        for item in items:
            self.faults.setdefault(item.lane, (reason, blame))

    def results(self) -> dict[Lane, BatchResult]:
        """Return the result of each lane."""
        return {lane: self._result(lane) for lane in self.sent}

    def _result(self, lane: Lane) -> BatchResult:
        sent = self.sent[lane]
        if lane in self.faults:
            return BatchResult(sent, *self.faults[lane])
        if sent < self._fit[lane]:
            return BatchResult(sent, self.interrupted, Blame.SINK)
        if sent < self._wanted[lane]:
            return BatchResult(sent, f"larger than {self._event_bytes} bytes", Blame.FOREVER)
        return BatchResult(sent)


def _by_partition(
    batches: Mapping[Lane, Sequence[Outgoing]],
    bodies: Mapping[Lane, Sequence[bytes]],
    fit: Mapping[Lane, int],
    partitions: Sequence[str],
) -> dict[str, list[_Item]]:
    found: dict[str, list[_Item]] = defaultdict(list)
    for lane, batch in batches.items():
        partition = partition_for(lane, partitions)
        for one, body in zip(batch[: fit[lane]], bodies[lane], strict=False):
            found[partition].append(_Item(lane, str(one.event.id), body))
    return found


def _deliver(link: _Link, partition: str, items: Sequence[_Item], tally: _Tally) -> None:
    """Send the items in batches as large as the link takes, up to the first refusal of the service."""
    waiting = list(reversed(items))
    while waiting:
        batch: Any = link.client.create_batch(partition_id=partition)
        taken: list[_Item] = []
        while waiting and (waiting[-1].lane in tally.faults or _added(batch, waiting[-1])):
            item = waiting.pop()
            if item.lane not in tally.faults:
                taken.append(item)
        if not taken:
            if waiting:
                raise ValueError("the hub takes smaller messages than EVENT_MAX_BYTES")
            return
        try:
            link.client.send_batch(batch, timeout=PATIENCE_S)
        except EventDataSendError as refusal:
            if refusal.error not in OF_THE_EVENT:
                tally.refused((*taken, *waiting), refusal.error or "refused", Blame.SINK)
                return
            _singly(link, partition, taken, tally)
        else:
            tally.accepted(taken)


def _singly(link: _Link, partition: str, items: Sequence[_Item], tally: _Tally) -> None:
    """Send events one by one, to find the one that the service refuses; its lane ends there."""
    for item in items:
        if item.lane in tally.faults:
            continue
        try:
            link.client.send_event(item.data(), partition_id=partition, timeout=PATIENCE_S)
        except EventDataSendError as refusal:
            blame = Blame.EVENT if refusal.error in OF_THE_EVENT else Blame.SINK
            tally.refused((item,), refusal.error or "refused", blame)
        else:
            tally.accepted((item,))


def _added(batch: EventDataBatch, item: _Item) -> bool:
    try:
        batch.add(item.data())
    except ValueError:
        return False
    return True
