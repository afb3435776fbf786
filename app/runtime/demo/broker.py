"""What lies in the broker right now: the step messages with the canvases that they carry."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import redis

LOOK_EVERY_S = 0.02
MESSAGES_AT_A_LOOK = 50


@dataclass(frozen=True, slots=True)
class Flight:
    """Step messages seen in the broker: task ids of those that carry a chain, a chord."""

    chains: frozenset[str]
    chords: frozenset[str]
    arguments: frozenset[str]


class BrokerWatch:
    """Looks into queues, then into what workers hold unacknowledged, until it is stopped."""

    def __init__(self, broker_url: str, queues: Sequence[str]) -> None:
        self._server = redis.Redis.from_url(broker_url)
        self._queues = tuple(queues)
        self._seen: dict[str, set[str]] = {"chain": set(), "chord": set(), "arguments": set()}

    def look(self) -> None:
        """Note every step message that lies in the broker now."""
        for queue in self._queues:
            for raw in cast(list[bytes], self._server.lrange(queue, 0, MESSAGES_AT_A_LOOK)):
                self._note(json.loads(raw))
        for raw in cast(list[bytes], self._server.hvals("unacked"))[:MESSAGES_AT_A_LOOK]:
            self._note(json.loads(raw)[0])

    def _note(self, message: dict[str, Any]) -> None:
        headers = message.get("headers") or {}
        if headers.get("task") != "quantum.step":
            return
        arguments, _, embedded = json.loads(base64.b64decode(message["body"]))
        for kind in ("chain", "chord"):
            if embedded.get(kind):
                self._seen[kind].add(headers["id"])
        self._seen["arguments"].add(json.dumps(arguments))

    @property
    def flight(self) -> Flight:
        """What was seen so far."""
        return Flight(*(frozenset(self._seen[kind]) for kind in ("chain", "chord", "arguments")))


@contextmanager
def watching(broker_url: str, queues: Sequence[str]) -> Iterator[BrokerWatch]:
    """Look into the broker in the background, some fifty times a second."""
    watch = BrokerWatch(broker_url, queues)
    stop = threading.Event()

    def keep_looking() -> None:
        while not stop.wait(LOOK_EVERY_S):
            watch.look()

    thread = threading.Thread(target=keep_looking, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        stop.set()
        thread.join()
