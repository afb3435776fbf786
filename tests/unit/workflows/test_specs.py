"""Specs are validated with pointers; schemas may not reach out of their document."""

from __future__ import annotations

from typing import Any

import pytest

from workflows.specs import DRAFT, MAX_FAULTS, canonical_json, check_schema, validate_spec


def test_faults_of_a_spec_carry_pointers() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {"b/c": {"type": "array", "items": {"type": "integer"}}},
    }
    faults = validate_spec(schema, {"b/c": [1, "x"]}, "/spec")
    assert {(fault.pointer, fault.code) for fault in faults} == {
        ("/spec", "schema"),
        ("/spec/b~1c/1", "schema"),
    }
    assert validate_spec(schema, {"a": 1}) == ()
    assert len(validate_spec({"items": {"type": "integer"}}, ["x"] * 500)) == MAX_FAULTS


@pytest.mark.parametrize(
    "reference", ["http://127.0.0.1:9/x", "file:///etc/passwd", "other.json", f"{DRAFT}/x"]
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_references_out_of_the_document_are_refused(keyword: str, reference: str) -> None:
    (fault,) = check_schema({"properties": {"a": {keyword: reference}}}, "/spec_schema")
    assert (fault.code, fault.pointer) == ("remote_ref", f"/spec_schema/properties/a/{keyword}")


def test_a_base_that_makes_a_local_reference_remote_is_refused_too() -> None:
    hidden = {"$id": "http://127.0.0.1:9/base", "properties": {"a": {"$ref": "#/$defs/gone"}}}
    assert [fault.code for fault in check_schema(hidden)] == ["schema"]


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ("string", ""),
        ({"type": "strin"}, "/type"),
        ({"$ref": "#/$defs/gone"}, ""),
        ({"properties": {"a": {"pattern": "(a"}}}, "/properties/a/pattern"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema"),
    ],
)
def test_bad_schemas_are_refused(schema: Any, pointer: str) -> None:
    assert [(fault.pointer, fault.code) for fault in check_schema(schema)] == [(pointer, "schema")]


def test_good_schemas_pass_with_data_that_looks_like_a_reference() -> None:
    assert check_schema({"$schema": DRAFT, "$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}) == ()
    assert check_schema({"enum": [{"$ref": "http://example.com"}], "default": {"$ref": "x"}}) == ()


def test_patterns_run_in_linear_time() -> None:
    assert validate_spec({"pattern": "^(a+)+$"}, "a" * 50_000 + "!")


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": [1, "ü"], "a": None}) == '{"a":null,"b":[1,"ü"]}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(float("nan"))
