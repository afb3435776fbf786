"""Checkpoints of Event Hubs in blobs, without those that a hub made anew cannot keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from azure.core.exceptions import ResourceExistsError
from azure.eventhub import CheckpointStore
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore
from azure.storage.blob import ContainerClient

from app.observability.logging import get_log

log = get_log(__name__)
RETRIES = 2


def blob_checkpoints(connection_string: str, container: str) -> BlobCheckpointStore:
    """Return the SDK's store over a container, which is made when it is missing; raises AzureError."""
    client = ContainerClient.from_connection_string(connection_string, container, retry_total=RETRIES)
    with client, suppress(ResourceExistsError):  # somebody made it before
        client.create_container()
    return BlobCheckpointStore.from_connection_string(connection_string, container, retry_total=RETRIES)


class SoundCheckpoints(CheckpointStore):
    """A store that leaves out checkpoints beyond the end of their partition.

    Such a one is of a hub that was deleted and made anew: the service refuses it until the hub has grown past
    it, then skips what came before. Without it the partition is read from its beginning.
    """

    def __init__(
        self,
        store: CheckpointStore,
        last_sequence: Callable[[str], int],
        known: Callable[[str, int], None],
    ) -> None:
        self._store = store
        self._last_sequence = last_sequence
        self._known = known

    def list_ownership(self, *names: Any, **more: Any) -> Iterable[dict[str, Any]]:
        """As the store."""
        found: Iterable[dict[str, Any]] = self._store.list_ownership(*names, **more)
        return found

    def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **more: Any
    ) -> Iterable[dict[str, Any]]:
        """As the store."""
        found: Iterable[dict[str, Any]] = self._store.claim_ownership(ownership_list, **more)
        return found

    def update_checkpoint(self, checkpoint: dict[str, Any], **more: Any) -> None:
        """As the store."""
        self._store.update_checkpoint(checkpoint, **more)

    def list_checkpoints(self, *names: Any, **more: Any) -> Iterable[dict[str, Any]]:
        """The store's, each with its end looked at."""
        sound = []
        for one in self._store.list_checkpoints(*names, **more):
            partition, sequence = str(one["partition_id"]), int(one["sequence_number"])
            last = self._last_sequence(partition)
            if sequence > last:
                log.error("checkpoint_beyond_end", partition=partition, checkpoint=sequence, last=last)
                continue
            self._known(partition, sequence)
            sound.append(one)
        return sound
