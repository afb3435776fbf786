"""A schema may judge one place of a document so often at most: a kilobyte of it could cost hours."""

from __future__ import annotations

from typing import Any

import pytest

from workflows.parsing import definition_schema
from workflows.schema_cost import MOST_AT_A_PLACE, TooCostly, cost_of
from workflows.specs import check_schema, validate_spec

HERE = {"$ref": "#"}
UNION = {"oneOf": [{"properties": {"kind": {"const": n}}} for n in range(50)]}


def doubled(levels: int) -> dict[str, Any]:
    """A schema of so many definitions, each of which judges twice by the one before."""
    names = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, levels)}
    return {"$defs": {"d0": {"type": "string"}, **names}, "$ref": f"#/$defs/d{levels - 1}"}


@pytest.mark.parametrize(
    ("schema", "cost"),
    [
        ({}, 1),
        ({"properties": {"a": {"type": "string"}, "b": {"items": {"type": "integer"}}}}, 1),
        (UNION, 51),
        ({"items": UNION}, 51),
        ({"properties": {"left": HERE, "right": HERE}, "additionalProperties": HERE}, 2),
        ({"prefixItems": [HERE], "items": HERE}, 2),
        ({"anyOf": [{"items": HERE}, {"additionalProperties": HERE}]}, 4),
        ({"$defs": {"x": {"$anchor": "me"}}, "allOf": [{"$ref": "#me"}, {"$ref": "#/$defs/x"}]}, 5),
        ({"if": {}, "then": {}, "else": {}, "dependentSchemas": {"a": {"not": {}}}}, 6),
        (doubled(7), 254),
    ],
)
def test_what_judges_one_place(schema: dict[str, Any], cost: int) -> None:
    assert cost_of(schema) == cost


@pytest.mark.parametrize(
    "schema",
    [
        doubled(30),
        HERE,
        {"anyOf": [{"type": "null"}, {"allOf": [HERE]}]},
        {"oneOf": [{"properties": {"args": {"items": HERE}}}] * 2},
        {"contains": HERE, "items": HERE},
        {"properties": {"a": HERE}, "patternProperties": {"a": HERE}},
        {"allOf": [{"additionalProperties": HERE}, {"properties": {"a": HERE}}]},
        {"properties": {"a": {"$id": "https://example.org/x"}}},
        {"$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(3000)}, "$ref": "#/$defs/d0"},
        {"anyOf": [{}] * MOST_AT_A_PLACE},
    ],
)
def test_what_could_take_too_long_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(TooCostly):
        cost_of(schema)


def test_a_schema_that_is_registered_is_judged_so() -> None:
    assert [(one.pointer, one.code) for one in check_schema(doubled(30), "/spec_schema")] == [
        ("/spec_schema", "too_costly")
    ]
    assert check_schema(definition_schema()) == ()


def test_the_places_of_faults_are_told_where_that_takes_no_long() -> None:
    many = [{"kind": 51}] * 2000
    assert [(one.pointer, one.code) for one in validate_spec({"items": UNION}, many, "/spec")] == [
        ("/spec", "schema")
    ]
    assert validate_spec({"items": UNION}, many[:3], "/spec")[0].pointer == "/spec/0"
    assert validate_spec({"items": UNION}, [{"kind": 1}] * 2000) == ()
