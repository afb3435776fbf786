"""JSON Schema 2020-12 validation that fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from app.domain.errors import Fault
from workflows.schema_cost import MOST_AT_A_PLACE, TooCostly, cost_of

DRAFT = "https://json-schema.org/draft/2020-12/schema"
MAX_FAULTS = 50
MOST_EVALUATIONS = 100_000
"""Evaluations above which the places of faults are not looked for: each may cost tens of microseconds."""
EVERY_PLACE = 1 << 60
"""For documents whose schema is the platform's own."""
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
# Their members are data of the schema's author, not schemas, so a "$ref" in them is plain text.
_LITERALS = frozenset({"const", "enum", "default", "examples"})


def pointer(parent: str, *parts: str | int) -> str:
    """Return the JSON pointer of a member below `parent`."""
    return parent + "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def validate_spec(
    schema: Mapping[str, Any], spec: Any, at: str = "", *, most: int = MOST_EVALUATIONS
) -> tuple[Fault, ...]:
    """Return what is wrong with `spec`, pointers below `at`; at most 50 faults.

    Where the schema may judge the places of `spec` more than `most` times in all, one fault says that it does
    not fit: to find each place would take long. Raises ValueError for a bad schema: see `check_schema`.
    """
    return judge_of(schema).faults(spec, at, most=most)


def judge_of(schema: Mapping[str, Any]) -> Judge:
    """Return the judge of a schema, for who asks it more than once; raises ValueError for a bad schema."""
    return _judge(canonical_json(schema))


def check_schema(schema: Any, at: str = "") -> tuple[Fault, ...]:
    """Return what is wrong with a schema: bad keywords, another draft, references that leave the document,
    subschemas that judge one place too often."""
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
    return tuple(_unfit(schema, at))


def _unfit(schema: Mapping[str, Any], at: str) -> Iterator[Fault]:
    """Yield what keeps a schema from judging: keywords, references, how often they judge one place."""
    try:
        _judge(canonical_json(schema))
        cost_of(schema)
    except TooCostly as error:
        yield Fault(at, "too_costly", str(error))
    except jsonschema_rs.ValidationError as error:
        yield Fault(pointer(at, *error.instance_path), "schema", error.message[:500])
    except (ValueError, RecursionError) as error:
        yield Fault(at, "schema", str(error)[:500])


def canonical_json(value: Any) -> str:
    """Return the one JSON text of `value`: sorted keys, no spaces; raises ValueError for NaN or infinity."""
    return _CANONICAL.encode(value)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} lies outside of this document; nothing is fetched")


@dataclass(frozen=True, slots=True)
class Judge:
    """A compiled schema; `cost` is how often it judges one place at most."""

    validator: jsonschema_rs.Draft202012Validator
    cost: int

    def faults(self, spec: Any, at: str = "", *, most: int = MOST_EVALUATIONS) -> tuple[Fault, ...]:
        """Return what is wrong with `spec`, as `validate_spec` does."""
        if self.validator.is_valid(spec):
            return ()
        if _places(spec, most // self.cost) > most // self.cost:
            return (Fault(at, "schema", "it does not fit its schema; there is too much of it to say where"),)
        found = []
        for error, _ in zip(self.validator.iter_errors(spec), range(MAX_FAULTS), strict=False):
            found.append(Fault(pointer(at, *error.instance_path), "schema", error.message[:500]))
        return tuple(found)


@lru_cache(maxsize=512)
def _judge(text: str) -> Judge:
    schema = json.loads(text)
    # The linear-time regex engine: a tenant's pattern must not be able to hang the API.
    validator = jsonschema_rs.Draft202012Validator(
        schema,
        retriever=_refuse,
        validate_formats=True,
        pattern_options=jsonschema_rs.RegexOptions(size_limit=1 << 20),
    )
    try:
        return Judge(validator, cost_of(schema))
    except TooCostly:
        return Judge(validator, MOST_AT_A_PLACE)  # an operator's own: a tenant's is refused


def _places(value: Any, most: int) -> int:
    """Return how many values a document holds, itself among them; counts little further than `most`."""
    pending, found = [value], 0
    while pending and found <= most:
        one = pending.pop()
        found += 1
        if isinstance(one, Mapping):
            pending.extend(one.values())
        elif isinstance(one, list):
            pending.extend(one)
    return found


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
