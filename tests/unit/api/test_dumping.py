"""The compiled dump says what marshmallow's own says, for every schema of the API."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from marshmallow import Schema, fields

from app.api import schemas
from app.api.dumping import compiled
from app.api.schemas.common import JsonObject, page_of

MOMENT = datetime(2026, 11, 27, 7, 0, 0, 120_000, UTC)
VALUES: dict[type, tuple[Any, ...]] = {
    fields.UUID: (UUID(int=7), "not parsed"),
    fields.DateTime: (MOMENT,),
    fields.AwareDateTime: (MOMENT,),
    fields.Date: (MOMENT.date(),),
    fields.Integer: (7, "8", True),
    fields.Float: (2.5, "3", 7),
    fields.Boolean: (True, "yes", 0),
    fields.Float: (1.5, 2, "3"),
    fields.String: ("text", UUID(int=8), 9),
    JsonObject: ({"a": [1, {"b": None}]},),
}


def _schemas() -> Iterator[type[Schema]]:
    for found in pkgutil.iter_modules(schemas.__path__):
        module = importlib.import_module(f"app.api.schemas.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Schema) and value is not Schema:
                yield value


ALL = sorted(set(_schemas()), key=lambda schema: schema.__name__)


def _value(field: fields.Field[Any], pick: int) -> Any:
    if isinstance(field, fields.Nested):
        inner = _sample(field.schema, pick)
        return [inner, inner] if field.many else inner
    if isinstance(field, fields.List):
        return [_value(field.inner, pick), _value(field.inner, pick + 1)]
    if isinstance(field, fields.Dict):
        return {"a": _value(field.value_field, pick)} if field.value_field and pick else {}
    values = VALUES.get(type(field), ("1",))
    return values[pick % len(values)]


def _sample(schema: Schema, pick: int) -> dict[str, Any]:
    return {(field.attribute or name): _value(field, pick) for name, field in schema.dump_fields.items()}


@pytest.mark.parametrize("schema", [*ALL, *(page_of(each) for each in ALL)], ids=lambda each: each.__name__)
def test_every_schema_dumps_as_marshmallow_does(schema: type[Schema]) -> None:
    made, dump = schema(), compiled(schema)
    for pick in range(3):
        sample = _sample(made, pick)
        assert dump(sample) == made.dump(sample)
        assert list(dump(sample)) == list(made.dump(sample)), "the members keep their order"
        for name in sample:
            if hasattr(dict, name):
                continue  # marshmallow would dump the method of a dict that has no such key
            without = {key: value for key, value in sample.items() if key != name}
            assert dump(without) == made.dump(without)
            nulled = {**sample, name: None}
            assert dump(nulled) == made.dump(nulled)
        holder = SimpleNamespace(**sample)
        assert dump(holder) == made.dump(holder)
