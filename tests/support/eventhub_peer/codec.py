"""The types of AMQP 1.0: bytes to values, values to bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID


class Symbol(str):
    """A name of the protocol."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with the code of what it is."""

    code: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes that are encoded already."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Typed:
    """A number with its width: ubyte, ushort, uint, ulong, int, long or timestamp."""

    kind: str
    value: int


def uint(value: int) -> Typed:
    return Typed("uint", value)


def long(value: int) -> Typed:
    return Typed("long", value)


def timestamp(milliseconds: int) -> Typed:
    return Typed("timestamp", milliseconds)


_KINDS = {
    "ubyte": (0x50, ">B"),
    "ushort": (0x60, ">H"),
    "uint": (0x70, ">I"),
    "ulong": (0x80, ">Q"),
    "int": (0x71, ">i"),
    "long": (0x81, ">q"),
    "timestamp": (0x83, ">q"),
}


def encode(value: Any) -> bytes:  # noqa: PLR0911 - a line for each type
    """Return the value in AMQP's encoding; raises TypeError for a type that the peer never sends."""
    if value is None:
        return b"\x40"
    if isinstance(value, bool):
        return b"\x41" if value else b"\x42"
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, Typed):
        code, form = _KINDS[value.kind]
        return bytes((code,)) + struct.pack(form, value.value)
    if isinstance(value, Symbol):
        return _sized(0xA3, 0xB3, value.encode())
    if isinstance(value, str):
        return _sized(0xA1, 0xB1, value.encode())
    if isinstance(value, bytes):
        return _sized(0xA0, 0xB0, value)
    if isinstance(value, int):
        return encode(Typed("int", value))
    if isinstance(value, UUID):
        return b"\x98" + value.bytes
    if isinstance(value, Described):
        named = encode(value.code) if isinstance(value.code, Symbol) else bytes((0x53, value.code))
        return b"\x00" + named + encode(value.value)
    if isinstance(value, dict):
        return _compound(0xD1, [part for pair in value.items() for part in pair])
    if isinstance(value, list | tuple):
        return _compound(0xD0, value)
    raise TypeError(f"no encoding for {type(value).__name__}")


def symbols(names: Sequence[str]) -> Raw:
    """Return an array of symbols."""
    body = b"\xa3" + b"".join(bytes((len(name),)) + name.encode() for name in names)
    return Raw(b"\xe0" + bytes((len(body) + 1, len(names))) + body)


def _sized(short: int, large: int, data: bytes) -> bytes:
    if len(data) < 256:
        return bytes((short, len(data))) + data
    return bytes((large,)) + struct.pack(">I", len(data)) + data


def _compound(code: int, values: Sequence[Any]) -> bytes:
    body = b"".join(encode(value) for value in values)
    return bytes((code,)) + struct.pack(">II", len(body) + 4, len(values)) + body


def decode(data: bytes, at: int = 0) -> tuple[Any, int]:
    """Return the value that begins at `at` with the place behind it."""
    code = data[at]
    at += 1
    if code == 0:
        descriptor, at = decode(data, at)
        value, at = decode(data, at)
        return Described(descriptor, value), at
    if code in _CONSTANTS:
        return _CONSTANTS[code], at
    if code in _FIXED:
        form = _FIXED[code]
        end = at + form.size
        return form.unpack_from(data, at)[0], end
    if code == 0x98:
        return UUID(bytes=bytes(data[at : at + 16])), at + 16
    width = 1 if code >> 4 in (0xA, 0xC, 0xE) else 4
    size = int.from_bytes(data[at : at + width], "big")
    at += width
    end = at + size
    if code in _BINARY:
        return _BINARY[code](bytes(data[at:end])), end
    count = int.from_bytes(data[at : at + width], "big")
    return _collection(code, data, at + width, count), end


def fields(data: bytes, at: int) -> tuple[list[Any], list[bytes], int]:
    """Return the fields of the list at `at`, each as value and as bytes, with the place behind it."""
    code = data[at]
    if code == 0x45:
        return [], [], at + 1
    width = 1 if code == 0xC0 else 4
    end = at + 1 + width + int.from_bytes(data[at + 1 : at + 1 + width], "big")
    count = int.from_bytes(data[at + 1 + width : at + 1 + 2 * width], "big")
    at += 1 + 2 * width
    values, raws = [], []
    for _ in range(count):
        value, behind = decode(data, at)
        values.append(value)
        raws.append(bytes(data[at:behind]))
        at = behind
    return values, raws, end


def _collection(code: int, data: bytes, at: int, count: int) -> Any:
    if code in (0xE0, 0xF0):
        items = []
        constructor = bytes(data[at : at + 1])
        at += 1
        for _ in range(count):
            value, behind = decode(constructor + bytes(data[at:]), 0)
            items.append(value)
            at += behind - 1
        return items
    values = []
    for _ in range(count):
        value, at = decode(data, at)
        values.append(value)
    if code in (0xC1, 0xD1):
        return dict(zip(values[::2], values[1::2], strict=True))
    return values


_CONSTANTS: dict[int, Any] = {0x40: None, 0x41: True, 0x42: False, 0x43: 0, 0x44: 0, 0x45: []}
_FIXED = {
    code: struct.Struct(form)
    for code, form in {
        0x50: ">B",
        0x51: ">b",
        0x52: ">B",
        0x53: ">B",
        0x54: ">b",
        0x55: ">b",
        0x56: ">?",
        0x60: ">H",
        0x61: ">h",
        0x70: ">I",
        0x71: ">i",
        0x72: ">f",
        0x80: ">Q",
        0x81: ">q",
        0x82: ">d",
        0x83: ">q",
    }.items()
}
_BINARY: dict[int, Callable[[bytes], Any]] = {
    0xA0: bytes,
    0xB0: bytes,
    0xA1: lambda data: data.decode(),
    0xB1: lambda data: data.decode(),
    0xA3: lambda data: Symbol(data.decode()),
    0xB3: lambda data: Symbol(data.decode()),
}
