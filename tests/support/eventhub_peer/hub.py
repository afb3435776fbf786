"""A hub: partitions of events in a file that outlives kill -9, positions, owners by epoch."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.eventhub_peer.codec import Described, decode

BATCH_FORMAT = 0x80013700
ANNOTATIONS, DATA = 0x72, 0x75
_HEAD = struct.Struct(">IHq")
_SELECTOR = re.compile(r"amqp\.annotation\.x-opt-([a-z-]+) (>=?) '(.*)'")


class Refused(Exception):
    """What the hub does not take: the condition, the words."""

    def __init__(self, condition: str, words: str) -> None:
        super().__init__(words)
        self.condition = condition


class Stored(NamedTuple):
    """One event as it was sent: its sections but for the annotations; when it came, where it stands."""

    sections: bytes
    enqueued_ms: int
    offset: int

    @property
    def body(self) -> bytes:
        """The content of its data sections."""
        return b"".join(value for code, value, _ in sections(self.sections) if code == DATA)


class Record(NamedTuple):
    """What one transfer brought to a partition."""

    partition: int
    enqueued_ms: int
    messages: list[bytes]
    end: int
    """Where the record ends in the file."""


def sections(message: bytes) -> list[tuple[int, Any, bytes]]:
    """Return the sections of an encoded message: code, value, bytes."""
    found, at = [], 0
    while at < len(message):
        section, behind = decode(message, at)
        assert isinstance(section, Described), "a message consists of sections"
        found.append((section.code, section.value, message[at:behind]))
        at = behind
    return found


def records(content: bytes) -> Iterator[Record]:
    """Yield the whole records of a file's content; one that was cut off by a kill is left out."""
    at = 0
    while at + _HEAD.size <= len(content):
        size, partition, enqueued_ms = _HEAD.unpack_from(content, at)
        begin, end = at + _HEAD.size, at + _HEAD.size + size
        if end > len(content):
            return
        messages = []
        while begin < end:
            (length,) = struct.unpack_from(">I", content, begin)
            messages.append(content[begin + 4 : begin + 4 + length])
            begin += 4 + length
        yield Record(partition, enqueued_ms, messages, end)
        at = end


def bodies(file: Path) -> list[bytes]:
    """Return the content of every event in the file, in the order of arrival."""
    content = file.read_bytes() if file.exists() else b""
    return [
        b"".join(value for code, value, _ in sections(message) if code == DATA)
        for record in records(content)
        for message in record.messages
    ]


class Hub:
    """The partitions, in memory and in the file; `take` returns when a kill -9 cannot lose them any more."""

    def __init__(self, name: str, file: Path, partitions: int) -> None:
        self.name = name
        self.created_ms = int(time.time() * 1000)
        self.events: list[list[Stored]] = [[] for _ in range(partitions)]
        self.owners: dict[tuple[str, int], tuple[int, Any]] = {}
        """By consumer group and partition: the epoch with the link that reads."""
        self._sizes = [0] * partitions
        self._turn = 0
        whole = 0
        for record in records(file.read_bytes() if file.exists() else b""):
            self._remember(record.partition, record.messages, record.enqueued_ms)
            whole = record.end
        file.touch()
        self._log = file.open("r+b")
        self._log.truncate(whole)
        self._log.seek(whole)

    def take(self, payload: bytes, message_format: int, partition: int | None) -> None:
        """Store a message, or the messages of a batch: all of them or, when the peer dies, none."""
        messages = [payload]
        if message_format == BATCH_FORMAT:
            messages = [value for code, value, _ in sections(payload) if code == DATA]
        if partition is None:
            self._turn += 1
            partition = self._turn % len(self.events)
        now_ms = int(time.time() * 1000)
        body = b"".join(struct.pack(">I", len(message)) + message for message in messages)
        self._log.write(_HEAD.pack(len(body), partition, now_ms) + body)
        self._log.flush()
        self._remember(partition, messages, now_ms)

    def start(self, selector: str, partition: int) -> int:
        """Return the index of the first event that the selector wants; raises Refused past the end."""
        match = _SELECTOR.fullmatch(selector)
        if match is None:
            raise Refused("amqp:not-implemented", f"the selector {selector!r} is not understood")
        name, sign, value = match.groups()
        events, behind = self.events[partition], int(sign == ">")
        if value == "@latest":
            return len(events)
        if value == "-1":
            return 0
        wanted = int(value)
        if name == "enqueued-time":
            places = [one.enqueued_ms for one in events]
        elif name == "sequence-number":
            places = list(range(len(events)))
        else:
            places = [one.offset for one in events]
            if not events or wanted > places[-1]:
                raise Refused("com.microsoft:argument-error", f"the offset {value} is beyond the last one")
        return next((at for at, place in enumerate(places) if place >= wanted + behind), len(events))

    def _remember(self, partition: int, messages: list[bytes], now_ms: int) -> None:
        for message in messages:
            kept = b"".join(raw for code, _, raw in sections(message) if code > ANNOTATIONS)
            self.events[partition].append(Stored(kept, now_ms, self._sizes[partition]))
            self._sizes[partition] += len(message)
