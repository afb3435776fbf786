"""A consumer of streams on a server of Redis 6, which tells less of what was trimmed."""

from __future__ import annotations

import json
import threading
from typing import Any

from app.consumers.handling import CloudEvent, Handling
from app.consumers.streams import StreamConsumer

STREAM = "quantum:events:one"
EVENT = {"source": "s", "id": "1", "type": "t"}


class Inbox:
    """Handles each event."""

    def __init__(self) -> None:
        self.handled: list[Any] = []

    def once(self, event: CloudEvent, _handle: Any) -> bool:
        self.handled.append(event["id"])
        return True


class Older:
    """A server that answers XAUTOCLAIM as Redis 6.2 does for entries that were trimmed."""

    def __init__(self) -> None:
        self.acknowledged: list[str] = []

    def eval(self, *_: Any) -> list[str]:
        return [STREAM]

    def scan_iter(self, *_: Any, **__: Any) -> list[str]:
        return [STREAM]

    def xgroup_create(self, *_: Any, **__: Any) -> None:
        """The group is made."""

    def xautoclaim(self, *_: Any, **__: Any) -> list[Any]:
        return ["0-0", [(None, None), ("2-0", {"event": json.dumps(EVENT)})]]

    def xinfo_consumers(self, *_: Any) -> list[Any]:
        return []

    def xreadgroup(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def xack(self, _stream: str, _group: str, *ids: str) -> None:
        self.acknowledged += ids


def test_entries_that_an_older_server_has_trimmed_stop_nobody() -> None:
    server, inbox = Older(), Inbox()
    handling = Handling(inbox, lambda *_: None, threading.Event(), lambda: 0.0)  # type: ignore[arg-type]  # what is used of it
    consumer = StreamConsumer(server, "g", "m", handling)  # type: ignore[arg-type]  # what is used of it
    assert consumer.turn() == 1
    assert (inbox.handled, server.acknowledged) == (["1"], ["2-0"])
