"""The service: sessions, links, tokens, management, what becomes of each transfer."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.eventhub_peer import wire
from tests.support.eventhub_peer.codec import (
    Described,
    Raw,
    Symbol,
    Typed,
    decode,
    encode,
    long,
    timestamp,
    uint,
)
from tests.support.eventhub_peer.faults import Faults
from tests.support.eventhub_peer.hub import Hub, Refused, sections
from tests.support.eventhub_peer.wire import Frame, Wire, error

POLICY = "RootManageSharedAccessKey"
KEY = base64.b64encode(hashlib.sha256(b"a key for tests").digest()).decode()
MESSAGE_MOST = 1024 * 1024
WINDOW, CREDIT = 100_000, 1000
SOURCE, PROPERTIES, APPLICATION, VALUE = 5, 0x73, 0x74, 0x77


@dataclass
class Service:
    """What all connections share."""

    hubs: dict[str, Hub]
    faults: Faults
    key: str
    readers: list[Link] = field(default_factory=list)

    def pump(self) -> None:
        """Let every reader have what came."""
        for reader in list(self.readers):
            reader.deliver()


@dataclass
class Link:
    """One link of a client; `sends` says whether the client is the one that sends."""

    connection: Connection
    channel: int
    handle: int
    sends: bool
    address: str
    hub: Hub | None = None
    partition: int | None = None
    group: str = ""
    at: int = 0
    """The index of the next event to read."""
    count: int = 0
    """Deliveries so far, of whichever side sends."""
    credit: int = 0
    parts: bytearray = field(default_factory=bytearray)
    first: Frame | None = None

    def deliver(self) -> None:
        """Send the reader what it has credit for."""
        events = self.hub.events[self.partition] if self.hub and self.partition is not None else []
        while self.credit > 0 and self.at < len(events) and not self.connection.service.faults.mute:
            one = events[self.at]
            notes = {
                Symbol("x-opt-offset"): str(one.offset),
                Symbol("x-opt-sequence-number"): long(self.at),
                Symbol("x-opt-enqueued-time"): timestamp(one.enqueued_ms),
            }
            self.at += 1
            self.connection.transfer(self, encode(Described(0x72, notes)) + one.sections)

    def refuse(self, condition: str, words: str) -> None:
        """End the link with an error."""
        self.connection.wire.send(
            self.channel, wire.DETACH, [uint(self.handle), True, error(condition, words)]
        )
        self.connection.forget(self)


class Connection:
    """One client's connection."""

    def __init__(self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.service = service
        self.wire = Wire(reader, writer)
        self._links: dict[tuple[int, int], Link] = {}
        self._received: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        self._trusted = False

    async def run(self) -> None:
        """Answer frames until the client closes, or the connection ends."""
        await self.wire.greet()
        answers = {
            wire.OPEN: self._open,
            wire.BEGIN: self._begin,
            wire.ATTACH: self._attach,
            wire.FLOW: self._flow,
            wire.DETACH: self._detach,
        }
        while True:
            frame = await self.wire.receive()
            if frame is None:
                continue
            if frame.code == wire.TRANSFER:
                await self._transfer(frame)
            elif frame.code == wire.CLOSE:
                self.wire.send(frame.channel, wire.CLOSE, [])
                await self.wire.drain()
                return
            elif frame.code == wire.END:
                self.wire.send(frame.channel, wire.END, [])
            elif frame.code in answers:
                answers[frame.code](frame)
            await self.wire.drain()

    def end(self) -> None:
        """Forget the links."""
        for link in list(self._links.values()):
            self.forget(link)
        self.wire.cut()

    def forget(self, link: Link) -> None:
        """Forget one link."""
        self._links.pop((link.channel, link.handle), None)
        if link in self.service.readers:
            self.service.readers.remove(link)

    def transfer(self, link: Link, message: bytes) -> None:
        """Send one message, settled, in frames as large as the client takes."""
        number = self._sent.get(link.channel, 0)
        self._sent[link.channel] = number + 1
        link.count += 1
        link.credit -= 1
        size = self.wire.frame_most - 256
        pieces = [message[at : at + size] for at in range(0, len(message), size)]
        for place, piece in enumerate(pieces):
            more = place < len(pieces) - 1
            head = [uint(link.handle), uint(number), number.to_bytes(4, "big"), uint(0), True, more]
            self.wire.send(link.channel, wire.TRANSFER, head, piece)

    def _open(self, frame: Frame) -> None:
        self.wire.frame_most = min(frame.value(2, wire.FRAME_MOST), wire.FRAME_MOST)
        self.wire.send(0, wire.OPEN, ["peer", None, uint(wire.FRAME_MOST), Typed("ushort", 255)])

    def _begin(self, frame: Frame) -> None:
        channel = Typed("ushort", frame.channel)
        values = [channel, uint(0), uint(WINDOW), uint(WINDOW), uint(255)]
        self.wire.send(frame.channel, wire.BEGIN, values)

    def _attach(self, frame: Frame) -> None:
        name, handle, receives = frame.value(0), frame.value(1), frame.value(2)
        node = frame.value(SOURCE if receives else SOURCE + 1)
        link = Link(self, frame.channel, handle, not receives, _path(node.value[0]))
        try:
            self._resolve(link, frame)
        except Refused as refusal:
            self.wire.send(frame.channel, wire.ATTACH, [name, uint(handle), not receives])
            link.refuse(refusal.condition, str(refusal))
            return
        self._links[frame.channel, handle] = link
        begun = uint(0) if receives else None
        ends = [Raw(frame.raw(SOURCE)), Raw(frame.raw(SOURCE + 1))]
        values = [name, uint(handle), not receives, None, None, *ends, None, None, begun]
        self.wire.send(frame.channel, wire.ATTACH, [*values, Typed("ulong", MESSAGE_MOST), None, None, {}])
        if link.sends:
            self._grant(link)
        elif link.hub is not None:
            self.service.readers.append(link)

    def _resolve(self, link: Link, frame: Frame) -> None:
        """Find what the address names; raises Refused."""
        if link.address in ("$cbs", "$management"):
            return
        if not self._trusted:
            raise Refused("amqp:unauthorized-access", "no token was put")
        name, *rest = link.address.split("/")
        pairs = dict(zip(rest[::2], rest[1::2], strict=False))
        link.hub = self.service.hubs.get(name)
        if link.hub is None:
            raise Refused("amqp:not-found", f"there is no hub {name!r}")
        if "Partitions" in pairs:
            link.partition = int(pairs["Partitions"])
            if not 0 <= link.partition < len(link.hub.events):
                raise Refused("com.microsoft:argument-out-of-range", "there is no such partition")
        if not link.sends:
            link.group = pairs.get("ConsumerGroups", "$default")
            filters = next(iter((frame.value(SOURCE).value[7] or {}).values()), None)
            selector = filters.value if filters else "amqp.annotation.x-opt-offset > '-1'"
            link.at = link.hub.start(_text(selector), link.partition or 0)
            self._own(link, (frame.value(13) or {}).get("com.microsoft:epoch"))

    def _own(self, link: Link, epoch: int | None) -> None:
        """Let a reader of a higher or the same epoch take the partition over; raises Refused."""
        assert link.hub is not None, "a reader has a hub"
        place = (link.group, link.partition or 0)
        before = link.hub.owners.get(place)
        if before is not None and before[1] in self.service.readers:
            if epoch is None or epoch < before[0]:
                raise Refused("amqp:link:stolen", f"a reader of epoch {before[0]} has the partition")
            before[1].refuse("amqp:link:stolen", f"a reader of epoch {epoch} takes the partition")
        if epoch is not None:
            link.hub.owners[place] = (epoch, link)

    def _grant(self, link: Link) -> None:
        received = self._received.get(link.channel, 0)
        values = [uint(received), uint(WINDOW), uint(0), uint(WINDOW), uint(link.handle)]
        more = [uint(link.count), uint(CREDIT), None, False, False]
        self.wire.send(link.channel, wire.FLOW, [*values, *more])

    def _flow(self, frame: Frame) -> None:
        link = self._links.get((frame.channel, frame.value(4, -1)))
        if link is not None and not link.sends:
            link.credit = frame.value(5, 0) + frame.value(6, 0) - link.count
            link.deliver()

    def _detach(self, frame: Frame) -> None:
        link = self._links.get((frame.channel, frame.value(0)))
        if link is not None:
            self.forget(link)
            self.wire.send(frame.channel, wire.DETACH, [uint(frame.value(0)), True])

    async def _transfer(self, frame: Frame) -> None:
        link = self._links.get((frame.channel, frame.value(0)))
        if link is None:
            return
        link.first = link.first or frame
        link.parts += frame.payload
        if frame.value(5, False):
            return
        first, message = link.first, bytes(link.parts)
        link.first, link.parts = None, bytearray()
        link.count += 1
        self._received[frame.channel] = self._received.get(frame.channel, 0) + 1
        if link.count % (CREDIT // 4) == 0:
            self._grant(link)
        if link.hub is None:
            self._settle(first, Described(wire.ACCEPTED, []))
            self._request(link, message)
            return
        await self._store(link, first, message)

    async def _store(self, link: Link, first: Frame, message: bytes) -> None:
        """Store what was sent, or do wrong as told."""
        faults = self.service.faults
        if faults.stall_s:
            pause, faults.stall_s = faults.stall_s, 0.0
            await asyncio.sleep(pause)
        if faults.meets("cut"):
            raise ConnectionError("cut")
        if faults.meets("detach"):
            link.refuse("amqp:link:detach-forced", "told to detach")
            return
        if faults.matching and faults.matching in message:
            self._settle(first, _rejected("amqp:not-allowed", "told to refuse this"))
            return
        if faults.meets("reject"):
            self._settle(first, _rejected(faults.condition, "told to reject"))
            return
        if len(message) > MESSAGE_MOST:
            self._settle(first, _rejected("amqp:link:message-size-exceeded", "too large"))
            return
        assert link.hub is not None, "only hubs store"
        if not faults.meets("swallow"):
            link.hub.take(message, first.value(3, 0), link.partition)
        if faults.meets("noack"):
            raise ConnectionError("no answer")
        self._settle(first, Described(wire.ACCEPTED, []))
        self.service.pump()

    def _settle(self, first: Frame, state: Described) -> None:
        number = uint(first.value(1, 0))
        self.wire.send(first.channel, wire.DISPOSITION, [True, number, number, True, state])

    def _request(self, link: Link, message: bytes) -> None:
        """Answer a put-token or a look at the hub."""
        parts = {code: value for code, value, _ in sections(message)}
        raw_id = _field(message, PROPERTIES)
        asked = {_text(name): value for name, value in parts[APPLICATION].items()}
        if link.address == "$cbs":
            code = 202 if _sound(_text(parts[VALUE]), self.service.key) else 401
            self._trusted = self._trusted or code == 202
            body: Any = None
        else:
            code, body = self._look(asked)
        words = {"status-code": code, "status-description": "OK" if code < 300 else "refused"}
        answer = (
            encode(Described(PROPERTIES, [None, None, None, None, None, Raw(raw_id)]))
            + encode(Described(APPLICATION, words))
            + encode(Described(VALUE, body))
        )
        for other in list(self._links.values()):
            if not other.sends and (other.address, other.channel) == (link.address, link.channel):
                self.transfer(other, answer)

    def _look(self, asked: dict[str, Any]) -> tuple[int, Any]:
        hub = self.service.hubs.get(_text(asked["name"]))
        if hub is None:
            return 404, None
        if _text(asked["type"]) == "com.microsoft:eventhub":
            ids = [str(number) for number in range(len(hub.events))]
            created = timestamp(hub.created_ms)
            found = {
                "name": hub.name,
                "created_at": created,
                "partition_count": len(ids),
                "partition_ids": ids,
            }
            return 200, {**found, "georeplication_factor": 1}
        number = int(_text(asked["partition"]))
        events = hub.events[number]
        return 200, {
            "name": hub.name,
            "partition": str(number),
            "begin_sequence_number": long(0 if events else -1),
            "last_enqueued_sequence_number": long(len(events) - 1),
            "last_enqueued_offset": str(events[-1].offset) if events else "-1",
            "last_enqueued_time_utc": timestamp(events[-1].enqueued_ms if events else 0),
            "is_partition_empty": not events,
        }


def _rejected(condition: str, words: str) -> Described:
    return Described(wire.REJECTED, [error(condition, words)])


def _field(message: bytes, wanted: int) -> bytes:
    """Return the first field of a section that is a list, as it came."""
    at = 0
    while at < len(message):
        section, behind = decode(message, at)
        if section.code == wanted:
            return wire.fields(message, at + 3)[1][0]
        at = behind
    raise Refused("amqp:decode-error", "the request has no id")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _path(address: Any) -> str:
    """Return an address without scheme and host."""
    words = _text(address)
    return urlsplit(words).path.strip("/") if "://" in words else words


def _sound(token: str, key: str) -> bool:
    """Whether a shared access signature is signed with the key, and not over."""
    kind, _, rest = token.partition(" ")
    words = dict(pair.partition("=")[::2] for pair in rest.split("&"))
    if kind != "SharedAccessSignature" or int(words.get("se", "0")) < time.time():
        return False
    signed = f"{words['sr']}\n{words['se']}".encode()
    digest = base64.b64encode(hmac.digest(key.encode(), signed, "sha256")).decode()
    return hmac.compare_digest(unquote(words["sig"]), digest)
