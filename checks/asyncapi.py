"""Comparison of docs/asyncapi.json with the catalogue of events: `python -m checks.asyncapi [--write]`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import jsonschema_rs

from app.services.event_catalogue import asyncapi
from checks.report import ROOT, tell_document

COMMITTED = ROOT / "docs" / "asyncapi.json"


def faults(document: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a document as far as that shows without the specification's own schema."""
    needed = {"info": ("title", "version"), "channels": (), "operations": (), "components": ()}
    for part, keys in needed.items():
        if any(key not in document.get(part, {}) for key in keys) or not document.get(part):
            yield f"{part}: missing"
    for name, operation in document["operations"].items():
        if operation["channel"]["$ref"].removeprefix("#/channels/") not in document["channels"]:
            yield f"operations/{name}: its channel leads nowhere"
    messages = document["components"]["messages"]
    for name, channel in document["channels"].items():
        wanted = set(re.findall(r"\{(\w+)\}", channel["address"]))
        if wanted != set(channel.get("parameters", {})):
            yield f"channels/{name}: the parameters are not those of its address"
        for reference in channel["messages"].values():
            if reference["$ref"].removeprefix("#/components/messages/") not in messages:
                yield f"channels/{name}: {reference['$ref']} leads nowhere"
    for name, message in messages.items():
        try:
            jsonschema_rs.meta.validate(message["payload"]["schema"])
        except jsonschema_rs.ValidationError as error:
            yield f"components/messages/{name}: {error.message}"


def main(arguments: list[str]) -> int:
    """Print each fault; return 1 when there is one, or when the committed document is another."""
    document = asyncapi(version("quantum-platform"))
    stale = "docs/asyncapi.json is not what the catalogue says: python -m checks.asyncapi --write"
    return tell_document(document, faults(document), COMMITTED, stale, write="--write" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
