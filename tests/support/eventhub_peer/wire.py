"""Frames of AMQP 1.0 over a socket: the handshakes, reading, writing."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.support.eventhub_peer.codec import Described, Symbol, Typed, encode, fields, symbols

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
MECHANISMS, INIT, OUTCOME = 0x40, 0x41, 0x44
ERROR, ACCEPTED, REJECTED = 0x1D, 0x24, 0x25
SASL_HEADER, AMQP_HEADER = b"AMQP\x03\x01\x00\x00", b"AMQP\x00\x01\x00\x00"
# The SDK reads fields by number without filling up: every performative goes out with all of them.
WIDTHS = {OPEN: 10, BEGIN: 8, ATTACH: 14, FLOW: 11, TRANSFER: 11, DISPOSITION: 6, DETACH: 3, END: 1, CLOSE: 1}
FRAME_MOST = 65_536


class Frame(NamedTuple):
    """One performative with its fields, as values and as bytes, and what follows it."""

    channel: int
    code: int
    values: list[Any]
    raws: list[bytes]
    payload: bytes

    def value(self, place: int, default: Any = None) -> Any:
        """Return a field; the default when it is null or left out."""
        found = self.values[place] if place < len(self.values) else None
        return default if found is None else found

    def raw(self, place: int) -> bytes:
        """Return a field as it came."""
        return self.raws[place] if place < len(self.raws) else b"\x40"


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.frame_most = FRAME_MOST

    async def greet(self) -> None:
        """Take the client's headers; whoever asks for SASL is let in as anybody."""
        header = await self._reader.readexactly(8)
        if header == SASL_HEADER:
            self._writer.write(SASL_HEADER)
            self.send(0, MECHANISMS, [symbols(["ANONYMOUS", "MSSBCBS", "EXTERNAL"])], kind=1)
            await self.receive()
            self.send(0, OUTCOME, [Typed("ubyte", 0), None], kind=1)
            header = await self._reader.readexactly(8)
        if header != AMQP_HEADER:
            raise ConnectionError("the client speaks something else")
        self._writer.write(AMQP_HEADER)

    async def receive(self) -> Frame | None:
        """Return the next frame; None for an empty one, which only says that the client lives."""
        size, offset, _, channel = struct.unpack(">IBBH", await self._reader.readexactly(8))
        body = await self._reader.readexactly(size - 8)
        body = body[offset * 4 - 8 :]
        if not body:
            return None
        values, raws, end = fields(body, 3)
        return Frame(channel, body[2], values, raws, body[end:])

    def send(
        self, channel: int, code: int, values: Sequence[Any], payload: bytes = b"", kind: int = 0
    ) -> None:
        """Write one performative, filled up to all its fields."""
        whole = [*values, *[None] * (WIDTHS.get(code, 0) - len(values))]
        body = encode(Described(code, whole)) + payload
        self._writer.write(struct.pack(">IBBH", len(body) + 8, 2, kind, channel) + body)

    async def drain(self) -> None:
        """Wait until the client takes more."""
        await self._writer.drain()

    def cut(self) -> None:
        """End the connection without a word."""
        self._writer.transport.abort()


def error(condition: str, words: str) -> Described:
    """Return an error as performatives carry it."""
    return Described(ERROR, [Symbol(condition), words, None])
