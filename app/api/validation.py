"""marshmallow's nested messages as flat faults with JSON pointers, also for bodies that may be absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import request
from marshmallow import Schema, ValidationError

from app.api.bodies import read_document
from app.domain.errors import Fault, InvalidInput


def faults_of(messages: Any, pointer: str = "") -> Iterator[Fault]:
    """Yield one fault for each message in the tree `messages`, its place below `pointer`."""
    if isinstance(messages, dict):
        for key, inner in messages.items():
            step = "" if key == "_schema" else "/" + str(key).replace("~", "~0").replace("/", "~1")
            yield from faults_of(inner, pointer + step)
        return
    for message in messages if isinstance(messages, list) else [messages]:
        yield Fault(pointer, "invalid", str(message))


def optional_body(properties: dict[str, Any]) -> dict[str, Any]:
    """Return how the OpenAPI document describes a JSON object that may be absent."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


def optional(schema: Schema) -> dict[str, Any]:
    """Return the members of the present request's body, none when it is absent; raises InvalidInput."""
    if not request.get_data(cache=True):
        return {}
    try:
        loaded: dict[str, Any] = schema.load(read_document())
    except ValidationError as wrong:
        raise InvalidInput(tuple(faults_of(wrong.normalized_messages()))) from wrong
    return loaded
