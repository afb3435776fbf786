"""Artifacts in a container of Azure Blob Storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.storage.blob import ContainerClient

from app.artifacts.blob_client import container_client, is_full, make_container
from app.domain.artifacts import STORE, ArtifactMissing, ArtifactStoreFull
from app.domain.errors import Unavailable


class AzureStore:
    """Content as blobs `tenant/hash`; a blob appears whole or not at all, by the service's own rules."""

    def __init__(self, connection_string: str, container: str) -> None:
        self._container: ContainerClient = container_client(connection_string, container)

    def put(self, tenant_id: UUID, sha256: str, content: bytes) -> None:
        """Keep the content; a blob that is there already stays. Makes the container when it is missing."""
        with _told():
            try:
                self._upload(tenant_id, sha256, content)
            except ResourceNotFoundError:
                make_container(self._container)
                self._upload(tenant_id, sha256, content)

    def read(self, tenant_id: UUID, sha256: str) -> Iterator[bytes]:
        """Yield the content piece by piece; what is missing is told before the first piece."""
        with _told():
            try:
                found = self._container.download_blob(_name(tenant_id, sha256))
            except ResourceNotFoundError as fault:
                raise ArtifactMissing(f"there is no artifact {sha256}") from fault
        return _pieces(found.chunks())

    def size(self, tenant_id: UUID, sha256: str) -> int | None:
        """Return the size of the blob, None when there is none."""
        with _told():
            try:
                return self._container.get_blob_client(_name(tenant_id, sha256)).get_blob_properties().size
            except ResourceNotFoundError:
                return None

    def delete(self, tenant_id: UUID, sha256: str) -> None:
        """Forget the content."""
        with _told():
            try:
                self._container.delete_blob(_name(tenant_id, sha256))
            except ResourceNotFoundError:
                return

    def sweep(self, older_s: float) -> int:  # noqa: ARG002 - the port's signature
        """Remove nothing: the service drops uncommitted blocks by itself after a week."""
        return 0

    def _upload(self, tenant_id: UUID, sha256: str, content: bytes) -> None:
        try:
            self._container.upload_blob(_name(tenant_id, sha256), content, overwrite=False)
        except ResourceExistsError:
            return


def _name(tenant_id: UUID, sha256: str) -> str:
    return f"{tenant_id}/{sha256}"


def _pieces(chunks: Iterator[bytes]) -> Iterator[bytes]:
    with _told():
        yield from chunks


@contextmanager
def _told() -> Iterator[None]:
    """Tell errors of the service in the words of the port."""
    try:
        yield
    except HttpResponseError as fault:
        if is_full(fault):
            raise ArtifactStoreFull("the storage account of the artifact store is full") from fault
        raise Unavailable(STORE, f"the artifact store answered {fault.status_code}") from fault
    except AzureError as fault:
        raise Unavailable(STORE, f"no answer from the artifact store: {type(fault).__name__}") from fault
