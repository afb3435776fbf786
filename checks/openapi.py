"""Comparison of docs/openapi.json with what the API serves: `python -m checks.openapi [--write]`."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from app.api.app import create_app
from app.bootstrap.api import build_api
from app.settings import load_settings
from checks.report import ROOT, tell_document

COMMITTED = ROOT / "docs" / "openapi.json"
METHODS = ("get", "put", "post", "delete", "patch")
# Nothing connects while the document is made; the URLs only have to have the right form.
NOWHERE = {
    "ENVIRONMENT": "test",
    "DATABASE_URL": "postgresql://app@127.0.0.1:1/x",
    "DATABASE_OWNER_URL": "postgresql://owner@127.0.0.1:1/x",
    "DATABASE_SYSTEM_URL": "postgresql://system@127.0.0.1:1/x",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "LOG_LEVEL": "ERROR",
}


def served() -> dict[str, Any]:
    """Return the document as a client gets it."""
    with tempfile.TemporaryDirectory() as state:
        app = create_app(build_api(load_settings({**NOWHERE, "QUANTUM_STATE_DIR": state})))
        answer = app.test_client().get("/api/v1/openapi.json")
    document: dict[str, Any] = answer.get_json()
    return document


def faults(document: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a document, one line each."""
    for error in OPENAPI_31_VALIDATOR.iter_errors(document):
        yield f"{'/'.join(map(str, error.instance_path))}: {error.message}"
    for place, target in _references(document, ""):
        if not _resolves(document, target):
            yield f"{place}: {target} leads nowhere"
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        try:
            jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
        except jsonschema_rs.ValidationError as error:
            yield f"components/schemas/{name}: {error.message}"
    yield from _operation_faults(document)


def _operation_faults(document: dict[str, Any]) -> Iterator[str]:
    names: Counter[str] = Counter()
    for path, item in document["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            names[operation.get("operationId", "")] += 1
            if "default" in operation["responses"]:
                yield f"{method} {path}: has a catch-all response"
            if not any(status[0] in "23" for status in operation["responses"]):
                yield f"{method} {path}: lists no success"
            if "security" not in operation:
                yield f"{method} {path}: does not say who may call"
    for name, count in names.items():
        if not name or count > 1:
            yield f"operationId {name!r} stands at {count} operations"


def _references(node: Any, place: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield place, value
            yield from _references(value, f"{place}/{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _references(value, f"{place}/{index}")


def _resolves(document: dict[str, Any], target: str) -> bool:
    if not target.startswith("#/"):
        return False
    node: Any = document
    for key in target[2:].split("/"):
        node = node.get(key.replace("~1", "/").replace("~0", "~")) if isinstance(node, dict) else None
    return node is not None


def main(arguments: list[str]) -> int:
    """Print each fault; return 1 when there is one, or when the committed document is another."""
    document = served()
    stale = "docs/openapi.json is not what the API serves: python -m checks.openapi --write"
    return tell_document(document, faults(document), COMMITTED, stale, write="--write" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
