"""Texts of others on a terminal: shown, never obeyed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

# All control characters but tab and line end, what turns the direction of writing, rare ends of line.
_OBEYED: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_SHOWN: Final = "\N{REPLACEMENT CHARACTER}"


def visible(value: Any) -> Any:
    """Return the JSON value, in its texts U+FFFD for each character that a terminal would obey."""
    if isinstance(value, str):
        return _OBEYED.sub(_SHOWN, value)
    if isinstance(value, Mapping):
        return {visible(key): visible(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [visible(member) for member in value]
    return value


def json_text(value: Any, indent: int | None = None) -> str:
    """Return the value as JSON for people and programs: their languages as they are, the rest escaped."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
