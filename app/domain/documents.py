"""JSON documents that the database can keep."""

from __future__ import annotations

import json
from typing import Any

# Made once: json.dumps with options makes an encoder for every call.
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
DEEPEST = 100
"""Levels of nested arrays and objects in what a step takes or gives: JSON readers end at about a thousand."""
_NESTING = (dict, list, tuple)
SUSPECT = ("\\u0000", "\\ud")  # as JSON escapes U+0000 or one half of a surrogate pair


def dump(value: Any) -> str:
    """The compact JSON text of a value; ValueError or TypeError when it has none or PostgreSQL refuses it."""
    text = _ENCODER.encode(value)
    if any(mark in text for mark in SUSPECT) and not _storable(value):
        raise ValueError("U+0000 or a lone surrogate cannot be stored")
    return text


def too_deep(value: Any, most: int = DEEPEST) -> bool:
    """Whether arrays and objects nest deeper than `most` levels."""
    level = [value] if isinstance(value, _NESTING) else []
    for _ in range(most):
        level = [
            part
            for one in level
            for part in (one.values() if isinstance(one, dict) else one)
            if isinstance(part, _NESTING)
        ]
        if not level:
            return False
    return True


def printable(value: Any) -> Any:
    """The value with U+FFFD for what cannot be stored, so that a message about bad data can be."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [printable(item) for item in value]
    return value


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, dict):
        return all(_storable(part) for pair in value.items() for part in pair)
    return not isinstance(value, list | tuple) or all(map(_storable, value))
