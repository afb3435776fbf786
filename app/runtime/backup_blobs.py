"""Backups in a container of Azure Blob Storage, sealed before they leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from app.artifacts.blob_client import container_client, is_full, make_container
from app.runtime.failure import RuntimeFailure

BLOCK: Final = 16 << 20
"""So a backup may measure 780 GiB; so much of it is in memory."""


class BlobStore:
    """Blobs under the names of backups; one appears when the list of its blocks is written."""

    apart = True

    def __init__(self, connection_string: str, container: str) -> None:
        self._container = container_client(connection_string, container, BLOCK)
        self._name = container
        self._there = False

    def __str__(self) -> str:
        return f"the container {self._name}"

    def names(self) -> list[str]:
        """Return the names of the blobs, none while there is no container."""
        with _told():
            try:
                return sorted(str(name) for name in self._container.list_blob_names())
            except ResourceNotFoundError:
                return []

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write a blob block by block; makes the container when it is missing."""
        with _told():
            self._ready()
            self._container.upload_blob(name, iter(pieces), overwrite=True)

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the blob piece by piece."""
        with _told():
            yield from self._container.download_blob(name).chunks()

    def delete(self, name: str) -> None:
        """Delete the blob."""
        with _told():
            try:
                self._container.delete_blob(name)
            except ResourceNotFoundError:
                return

    def sweep(self, before: datetime) -> None:
        """Remove nothing: the service drops uncommitted blocks by itself after a week."""

    def _ready(self) -> None:
        """Make the container once, if it is missing: whoever may only write to it need not be allowed to."""
        if not self._there and not self._container.exists():
            make_container(self._container)
        self._there = True


@contextmanager
def _told() -> Iterator[None]:
    """Tell errors of the service in the words of the port."""
    try:
        yield
    except ResourceNotFoundError as missing:
        raise RuntimeFailure(
            f"the store of backups has no such blob, or no container: {missing.reason}"
        ) from missing
    except HttpResponseError as fault:
        words = "is full" if is_full(fault) else f"answered {fault.status_code}"
        raise RuntimeFailure(f"the store of backups {words}") from fault
    except AzureError as fault:
        raise RuntimeFailure(f"no answer from the store of backups: {type(fault).__name__}") from fault
