"""How a container of Azure Blob Storage is reached: time-outs, retries, sizes of pieces."""

from __future__ import annotations

from azure.core.exceptions import HttpResponseError, ResourceExistsError
from azure.storage.blob import BlobServiceClient, ContainerClient, LinearRetry

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
RETRIES, RETRY_AFTER_S = 1, 1
PIECE = 1 << 20
SINGLE_PUT = 8 << 20
BLOCK = 4 << 20
FULL = frozenset({"AccountLimitExceeded", "InsufficientStorage", "StorageAccountQuotaExceeded"})
INSUFFICIENT_STORAGE = 507


def container_client(connection_string: str, container: str, block: int = BLOCK) -> ContainerClient:
    """Return the client of a container, which need not be there; nothing connects yet.

    What is streamed goes in blocks of `block` bytes, at most 50,000 of them.
    """
    service = BlobServiceClient.from_connection_string(
        connection_string,
        connection_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retry_policy=LinearRetry(backoff=RETRY_AFTER_S, retry_total=RETRIES, random_jitter_range=0),
        max_single_put_size=SINGLE_PUT,
        max_block_size=block,
        max_single_get_size=PIECE,
        max_chunk_get_size=PIECE,
    )
    return service.get_container_client(container)


def make_container(client: ContainerClient) -> None:
    """Make the container unless it is there; raises AzureError."""
    try:
        client.create_container()
    except ResourceExistsError:
        return


def is_full(fault: HttpResponseError) -> bool:
    """Tell whether the account has no room."""
    return fault.status_code == INSUFFICIENT_STORAGE or getattr(fault, "error_code", "") in FULL
