"""JSON Schema 2020-12 validation that fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from app.domain.errors import Fault

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MAX_FAULTS = 50
# Their members are data of the schema's author, not schemas, so a "$ref" in them is plain text.
_LITERALS = frozenset({"const", "enum", "default", "examples"})


def pointer(parent: str, *parts: str | int) -> str:
    """Return the JSON pointer of a member below `parent`."""
    return parent + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def validate_spec(schema: Mapping[str, Any], spec: Any, at: str = "") -> tuple[Fault, ...]:
    """Return what is wrong with `spec`, pointers below `at`; at most 50 faults.

    Raises ValueError when the schema itself is bad: see `check_schema`.
    """
    errors = _validator(canonical_json(schema)).iter_errors(spec)
    found = []
    for error, _ in zip(errors, range(MAX_FAULTS), strict=False):
        found.append(Fault(pointer(at, *error.instance_path), "schema", error.message[:500]))
    return tuple(found)


def check_schema(schema: Any, at: str = "") -> tuple[Fault, ...]:
    """Return what is wrong with a schema: bad keywords, another draft, references that leave the document."""
    if not isinstance(schema, Mapping):
        return (Fault(at, "schema", "a schema is a JSON object"),)
    if schema.get("$schema", DRAFT) != DRAFT:
        return (Fault(pointer(at, "$schema"), "schema", f"only {DRAFT} is supported"),)
    remote = tuple(
        Fault(where, "remote_ref", f"{target!r} lies outside of this document; nothing is fetched")
        for where, target in _remote_references(schema, at)
    )
    if remote:
        return remote[:MAX_FAULTS]
    try:
        _validator(canonical_json(schema))
    except jsonschema_rs.ValidationError as error:
        return (Fault(pointer(at, *error.instance_path), "schema", error.message[:500]),)
    except (ValueError, RecursionError) as error:
        return (Fault(at, "schema", str(error)[:500]),)
    return ()


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces; raises ValueError for NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} lies outside of this document; nothing is fetched")


@lru_cache(maxsize=512)
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    # The linear-time regex engine: a tenant's pattern must not be able to hang the API.
    return jsonschema_rs.Draft202012Validator(
        json.loads(schema),
        retriever=_refuse,
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20),
    )


def _remote_references(schema: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            where = pointer(at, key)
            if key in {"$ref", "$dynamicRef"} and isinstance(value, str) and not value.startswith("#"):
                yield where, value
            elif key not in _LITERALS:
                yield from _remote_references(value, where)
    elif isinstance(schema, list):
        for index, value in enumerate(schema):
            yield from _remote_references(value, pointer(at, index))
