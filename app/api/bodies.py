"""Strict reading of request bodies: what PostgreSQL could not keep is refused here."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import yaml
from flask import Request, request
from webargs import core
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType

from app.domain.documents import too_deep
from workflows.yaml12 import Loader

DEEPEST: Final = 64
"""Levels of nested arrays and objects that a body may have."""
LARGEST_YAML: Final = 256 * 1024
"""Bytes of a YAML body: it takes a hundred times longer to read than JSON."""
JSON_TYPE: Final = "application/json"
YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})

MOST_DIGITS: Final = 4300
"""Digits of a whole number that Python reads: what it says of more is about Python."""
_LONG_NUMBER: Final = re.compile(rb"[0-9]{4301}")

# A cheap look at the raw text tells whether the costly walk over all values is needed at all.
_SUSPICIOUS: Final = re.compile(rb"\x00|\\u0000|\\u[dD][89a-fA-F]")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


class Malformed(BadRequest):
    """The body is not the JSON or YAML that its content type promises; `pointer` tells where, if known."""

    def __init__(self, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.pointer = pointer


def parse_json(raw: bytes) -> Any:
    """Return the value of a JSON text; raises Malformed for what RFC 8259 or the database refuses.

    Refused besides bad syntax: NaN or infinite numbers, NUL characters, lone surrogates, repeated members,
    nesting beyond `DEEPEST`.
    """
    try:
        value = json.loads(raw, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError as deep:
        raise Malformed(f"the body nests deeper than {DEEPEST} levels") from deep
    except ValueError as wrong:
        if _LONG_NUMBER.search(raw):
            raise Malformed(f"a number of the body has more than {MOST_DIGITS} digits") from wrong
        raise Malformed(f"the body is not JSON: {_brief(wrong)}") from wrong
    nests = raw.count(b"{") + raw.count(b"[") > DEEPEST and too_deep(value, DEEPEST)
    if nests or _SUSPICIOUS.search(raw):
        _walk(value, "", 1)
    return value


def parse_yaml(raw: bytes) -> Any:
    """Return the value of a YAML document with JSON's types only; raises Malformed.

    Anchors are refused: a few hundred bytes of aliases would unfold into gigabytes.
    """
    if len(raw) > LARGEST_YAML:
        raise RequestEntityTooLarge(f"a YAML body has at most {LARGEST_YAML} bytes: send JSON")
    try:
        for event in yaml.parse(raw, Loader=Loader):
            if getattr(event, "anchor", None):
                raise Malformed("anchors and aliases are not allowed")
        value = yaml.load(raw, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader
        # Through JSON once: keys that are numbers become text, as JSON has them.
        value = json.loads(json.dumps(value, allow_nan=False), object_pairs_hook=_unique)
    except RecursionError as deep:
        raise Malformed(f"the body nests deeper than {DEEPEST} levels") from deep
    except yaml.YAMLError as wrong:
        raise Malformed(f"the body is not YAML: {_brief(wrong)}") from wrong
    except (TypeError, ValueError) as wrong:
        raise Malformed(f"the body holds a value that JSON does not know: {_brief(wrong)}") from wrong
    _walk(value, "", 1)
    return value


def read_document() -> Any:
    """Return the present request's body, JSON or YAML by its content type; raises Malformed or 415."""
    raw = request.get_data(cache=True)
    if request.is_json:
        return parse_json(raw)
    if request.mimetype in YAML_TYPES:
        return parse_yaml(raw)
    raise UnsupportedMediaType(f"send {JSON_TYPE} or application/yaml")


class StrictParser(FlaskParser):
    """webargs with strict JSON, 415 for other content types, no unknown query parameters."""

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012 - webargs declares it as an instance attribute
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": "raise",
    }

    def load_json(self, req: Request, schema: Any) -> Any:  # noqa: ARG002 - webargs' signature
        """Return the body as JSON."""
        if not req.is_json and (req.mimetype or req.get_data(cache=True)):
            raise UnsupportedMediaType(f"send {JSON_TYPE}")
        raw = req.get_data(cache=True)
        return parse_json(raw) if raw else core.missing


class _UniqueKeys(Loader):
    """A safe loader that refuses one key twice: readers differ in which of the two they believe."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = {repr(self.construct_object(key, deep=True)) for key, _ in node.value}
        if len(keys) < len(node.value):
            raise yaml.constructor.ConstructorError(
                None, None, "a mapping has one key twice", node.start_mark
            )
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("an object has one member twice")
    return members


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is out of range")
    return value


def _walk(value: Any, pointer: str, depth: int) -> None:
    if isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise Malformed("the body holds a NUL character or half of a surrogate pair", pointer)
        return
    if not isinstance(value, dict | list):
        return
    if depth > DEEPEST:
        raise Malformed(f"the body nests deeper than {DEEPEST} levels", pointer)
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        if isinstance(key, str) and _UNSTORABLE.search(key):
            raise Malformed("a member name holds a NUL character or half of a surrogate pair", pointer)
        _walk(inner, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}", depth + 1)


def _brief(wrong: Exception) -> str:
    return " ".join(str(wrong).split())[:200]
