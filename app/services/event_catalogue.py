"""The catalogue of events: the JSON Schema of each type's data, the AsyncAPI document of where events go."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from app.domain.errors import NotFound
from app.domain.events import (
    ENVELOPE,
    EVENT_TYPES,
    MADE_ON_THE_WAY,
    PREFIX,
    SCHEMA_VERSIONS,
    dataschema,
)
from app.domain.relay import GAP
from app.domain.webhooks import PING

ALL_TYPES = (*EVENT_TYPES, *MADE_ON_THE_WAY)
_FOLDER = resources.files("app.domain") / "event_schemas"


@cache
def schema_of(type_: str) -> dict[str, Any]:
    """Return the schema of the newest version of a type's data; raises NotFound."""
    if type_ not in ALL_TYPES:
        raise NotFound("no such event type")
    name = type_.removeprefix(PREFIX)
    file = _FOLDER / f"{name}.v{SCHEMA_VERSIONS.get(name, 1)}.json"
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def list_types() -> list[dict[str, Any]]:
    """Return every type with the address of its schema and what it means."""
    return [
        {"type": type_, "dataschema": dataschema(type_), "description": schema_of(type_)["description"]}
        for type_ in ALL_TYPES
    ]


def envelope_of(type_: str) -> dict[str, Any]:
    """Return the schema of a whole CloudEvent of the type."""
    data = {name: part for name, part in schema_of(type_).items() if name not in ("$schema", "$id")}
    own = {"type": {"const": type_}, "dataschema": {"const": dataschema(type_)}, "data": data}
    return {**ENVELOPE, "properties": {**ENVELOPE["properties"], **own}}


def asyncapi(version: str) -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document: channels, what is received on each, the message of each type."""
    messages = {type_.removeprefix(PREFIX): _message(type_) for type_ in ALL_TYPES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Quantum Platform events",
            "version": version,
            "description": "CloudEvents 1.0, delivered at least once, in order per subject.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": {key: _channel(key, channel) for key, channel in _CHANNELS.items()},
        "operations": {
            f"receive_{key}": {
                "action": "receive",
                "channel": {"$ref": f"#/channels/{key}"},
                "summary": channel["summary"],
            }
            for key, channel in _CHANNELS.items()
        },
        "components": {"messages": messages},
    }


_TENANT = {"tenant_id": {"description": "The tenant's id."}}
_CHANNELS: dict[str, dict[str, Any]] = {
    "redis": {
        "address": "quantum:events:{tenant_id}",
        "summary": "The tenant's Redis Stream; each entry has the field `event`.",
        "parameters": _TENANT,
    },
    "rabbitmq": {
        "address": "{tenant_id}.{type}",
        "summary": "The topic exchange quantum.events, by routing key.",
        "parameters": {**_TENANT, "type": {"description": "The type without io.quantum."}},
    },
    "eventhubs": {"address": "quantum-events", "summary": "The event hub; a subject stays in a partition."},
    "feed": {
        "address": "/api/v1/events/stream",
        "summary": "Server-sent events of the token's tenant.",
    },
    "webhooks": {
        "address": "{url}",
        "summary": "A POST signed as Standard Webhooks, of the types that the webhook names.",
        "parameters": {"url": {"description": "Where the webhook points."}},
    },
}
_ALSO = {"redis": (GAP,), "rabbitmq": (GAP,), "eventhubs": (GAP,), "feed": (), "webhooks": (PING,)}
"""What a channel carries beside the events."""


def _channel(key: str, channel: dict[str, Any]) -> dict[str, Any]:
    names = [type_.removeprefix(PREFIX) for type_ in (*EVENT_TYPES, *_ALSO[key])]
    messages = {name: {"$ref": f"#/components/messages/{name}"} for name in names}
    return {**channel, "messages": messages}


def _message(type_: str) -> dict[str, Any]:
    return {
        "name": type_,
        "summary": schema_of(type_)["description"],
        "contentType": "application/cloudevents+json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": envelope_of(type_),
        },
    }
