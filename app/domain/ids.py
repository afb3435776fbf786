"""UUIDv7: time-ordered identifiers made from a given moment."""

from __future__ import annotations

from uuid import UUID

RANDOM_BYTES = 10
_VERSION_7 = 0x7 << 76
_VARIANT_RFC = 0x2 << 62
_RAND_A = ((1 << 12) - 1) << 64
_RAND_B = (1 << 62) - 1


def uuid7(unix_ms: int, random_bytes: bytes) -> UUID:
    """The UUIDv7 of `unix_ms` (milliseconds since 1970) with ten random bytes, else ValueError."""
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError(f"unix_ms out of range: {unix_ms}")
    if len(random_bytes) != RANDOM_BYTES:
        raise ValueError(f"uuid7 needs {RANDOM_BYTES} random bytes, got {len(random_bytes)}")
    noise = int.from_bytes(random_bytes, "big")
    return UUID(int=unix_ms << 80 | _VERSION_7 | (noise & _RAND_A) | _VARIANT_RFC | (noise & _RAND_B))


def uuid7_floor(unix_ms: int) -> UUID:
    """The lowest UUIDv7 of a moment: a range over ids bounded by it is a range over time."""
    return uuid7(max(unix_ms, 0), bytes(RANDOM_BYTES))


def uuid7_ms(value: UUID) -> int:
    """The milliseconds since 1970 a UUIDv7 carries."""
    return value.int >> 80
