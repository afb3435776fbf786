"""A consumer of Event Hubs: the SDK's receiver with checkpoints in blobs, watched for silence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from azure.core.exceptions import AzureError
from azure.eventhub import CheckpointStore, EventHubConsumerClient
from azure.eventhub.exceptions import EventHubError

from app.consumers.checkpoints import SoundCheckpoints
from app.consumers.handling import Handling, Stopped, parsed
from app.consumers.silence import ReceiverSilent, Silence
from app.observability.logging import get_log

log = get_log(__name__)


@dataclass(frozen=True, slots=True)
class HubRules:
    """Seconds, but for `batch` events handled before a checkpoint, `silences` before the consumer gives up.

    A partition whose owner is gone is taken over after `ownership_s`.
    """

    batch: int = 100
    wait_s: float = 1.0
    balance_s: float = 5.0
    ownership_s: float = 30.0
    silence_s: float = 60.0
    look_s: float = 10.0
    pause_s: float = 1.0
    silences: int = 3


@dataclass(slots=True)
class HubConsumer:
    """One consumer of a group; partitions are shared with the group's others through the checkpoint store.

    A partition is handled in order; its checkpoint is written after the handler's commits, so what a crash
    leaves between them comes again and is dropped by the inbox.
    """

    connection_string: str
    hub: str
    group: str
    store: CheckpointStore
    handling: Handling
    rules: HubRules = HubRules()
    from_now: bool = False
    """Whether partitions without a checkpoint begin with what comes next."""
    _silence: Silence = field(init=False)
    _client: EventHubConsumerClient = field(init=False)
    _silences: int = 0
    _idle: Callable[[], bool] = field(init=False)

    def run(self, idle: Callable[[], bool] = lambda: False) -> None:
        """Consume until the handling is told to stop, or `idle` says so; raises ReceiverSilent."""
        self._idle = idle
        stop = self.handling.stop
        while not stop.is_set():
            ended = threading.Event()
            self._silence = Silence(self.rules.silence_s, self.handling.clock)
            self._client = self._connected()
            watch = threading.Thread(target=self._watch, args=(self._client, ended), name="hub-watch")
            watch.start()
            try:
                self._client.receive_batch(
                    self._on_batch,
                    max_batch_size=self.rules.batch,
                    max_wait_time=self.rules.wait_s,
                    starting_position="@latest" if self.from_now else "-1",
                    on_error=self._on_error,
                    on_partition_initialize=lambda place: self._silence.began(place.partition_id),
                    on_partition_close=lambda place, _: self._silence.ended(place.partition_id),
                )
            except (EventHubError, AzureError, OSError) as fault:
                log.warning("consumer_waits", part="event hubs", reason=type(fault).__name__)
            finally:
                ended.set()
                watch.join()
                self._client.close()
            if self._silences >= self.rules.silences:
                raise ReceiverSilent(f"nothing came from {self.hub} though events wait there")
            stop.wait(self.rules.pause_s)

    def _connected(self) -> EventHubConsumerClient:
        sound = SoundCheckpoints(self.store, self._last_sequence, self._known)
        return EventHubConsumerClient.from_connection_string(
            self.connection_string,
            self.group,
            eventhub_name=self.hub,
            checkpoint_store=sound,
            load_balancing_interval=self.rules.balance_s,
            partition_ownership_expiration_interval=self.rules.ownership_s,
            retry_total=0,  # else the SDK retries a refused link for ever, and tells nobody
        )

    def _known(self, partition: str, sequence: int) -> None:
        self._silence.known(partition, sequence)

    def _last_sequence(self, partition: str) -> int:
        return int(self._client.get_partition_properties(partition)["last_enqueued_sequence_number"])

    def _on_batch(self, place: Any, events: Sequence[Any]) -> None:
        """Handle a batch, note the checkpoint; called by one thread for all partitions."""
        last = None
        try:
            for event in events:
                name = f"{self.hub}/{place.partition_id}/{event.sequence_number}"
                self.handling.take(parsed(b"".join(event.body), name))
                last = event
                self._silences = 0
                self._silence.heard(place.partition_id, event.sequence_number)
        except Stopped:
            self._end()
        finally:
            if last is not None:
                place.update_checkpoint(last)
        if not events:
            self.handling.tidy()
            if self._idle():
                self.handling.stop.set()

    def _on_error(self, place: Any, fault: Exception) -> None:
        partition = None if place is None else place.partition_id
        log.warning("receiver_failed", partition=partition, reason=f"{type(fault).__name__}: {fault}"[:300])

    def _watch(self, client: EventHubConsumerClient, ended: threading.Event) -> None:
        """End the receiver when the consumer shall stop, or when it went silent."""
        look_at = self.handling.clock() + self.rules.look_s
        while not ended.wait(0.05):
            if self.handling.stop.is_set():
                client.close()
                return
            if self.handling.clock() < look_at:
                continue
            look_at = self.handling.clock() + self.rules.look_s
            if silent := self._silent():
                self._silences += 1
                log.error("receiver_silent", partitions=silent, times=self._silences)
                client.close()
                return

    def _silent(self) -> list[str]:
        try:
            last = {one: self._last_sequence(one) for one in self._silence.partitions()}
        except (EventHubError, OSError):
            return []  # the service is away, which the receiver tells by itself
        return self._silence.silent(last)

    def _end(self) -> None:
        self.handling.stop.set()
