"""Consumers by addresses alone: they need no settings of the platform."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from app.consumers.handling import Handling
from app.consumers.streams import StreamConsumer, StreamRules
from app.messaging.streams import connect_streams

if TYPE_CHECKING:
    from app.consumers.hubs import HubConsumer, HubRules


def stream_consumer(
    url: str,
    group: str,
    handling: Handling,
    *,
    tenants: Sequence[UUID] = (),
    from_now: bool = False,
    rules: StreamRules | None = None,
) -> StreamConsumer:
    """Return a member of a group over the streams of `tenants`, of all tenants when there are none."""
    member = f"{socket.gethostname()}-{uuid4().hex[:12]}"
    return StreamConsumer(
        connect_streams(url), group, member, handling, tenants, rules or StreamRules(), from_now
    )


def hub_consumer(
    connection_string: str,
    hub: str,
    group: str,
    storage: str,
    handling: Handling,
    *,
    container: str = "quantum-checkpoints",
    from_now: bool = False,
    rules: HubRules | None = None,
) -> HubConsumer:
    """Return a consumer of an event hub whose checkpoints are blobs of the storage account `storage`.

    `container` is made when it is missing; raises AzureError when that fails.
    """
    # Of the extra `[azure]`: whoever reads Redis needs none of it.
    from app.consumers.checkpoints import blob_checkpoints  # noqa: PLC0415 - as above
    from app.consumers.hubs import HubConsumer, HubRules  # noqa: PLC0415 - as above

    store = blob_checkpoints(storage, container)
    return HubConsumer(connection_string, hub, group, store, handling, rules or HubRules(), from_now)
