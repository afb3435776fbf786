"""Keyset pages with opaque cursors."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.domain.errors import InvalidInput

MAX_PAGE = 200
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PageRequest:
    """How many items a caller wants, after which key (None: from the start)."""

    limit: int = 50
    after: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_PAGE:
            raise InvalidInput.at("/limit", "range", f"limit is 1 to {MAX_PAGE}")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, with the cursor of what follows them (None: nothing does)."""

    items: tuple[T, ...]
    next_cursor: str | None


def encode_cursor(*key: Any) -> str:
    """An opaque cursor for the key of the last item of a page."""
    raw = json.dumps(key, separators=(",", ":"), default=str).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_cursor(cursor: str, length: int = 1) -> tuple[Any, ...]:
    """The key in a cursor of ours; InvalidInput at `/cursor` for any other text."""
    try:
        raw = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        key = json.loads(raw)
    except (binascii.Error, UnicodeError, ValueError) as error:
        raise InvalidInput.at("/cursor", "cursor", "not a cursor of this list") from error
    if not isinstance(key, list) or len(key) != length:
        raise InvalidInput.at("/cursor", "cursor", "not a cursor of this list")
    return tuple(key)
