"""marshmallow's nested messages as flat faults with JSON pointers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.domain.errors import Fault


def faults_of(messages: Any, pointer: str = "") -> Iterator[Fault]:
    """Yield one fault for each message in the tree `messages`, its place below `pointer`."""
    if isinstance(messages, dict):
        for key, inner in messages.items():
            step = "" if key == "_schema" else "/" + str(key).replace("~", "~0").replace("/", "~1")
            yield from faults_of(inner, pointer + step)
        return
    for message in messages if isinstance(messages, list) else [messages]:
        yield Fault(pointer, "invalid", str(message))
