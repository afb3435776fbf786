"""Definitions that cannot run here are refused, with the place of each fault."""

from __future__ import annotations

from typing import Any

import pytest

from app.domain.errors import InvalidInput
from tests.unit.workflows.shapes import REGISTRY, document
from workflows.checks import check_definition
from workflows.parsing import parse_definition


def _faults(broken: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        check_definition(parse_definition(broken), REGISTRY)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


def _step(**members: Any) -> dict[str, Any]:
    return document({"a": [], "b": ["a"], "c": []}, b=members)


def _undo(uses: str = "toy.do", **given: Any) -> dict[str, Any]:
    return {"compensate": {"uses": uses, "with": given}}


def test_a_cycle_is_named_by_its_path() -> None:
    cyclic = document({"a": [], "b": ["a", "d"], "c": ["b"], "d": ["c"]})
    with pytest.raises(InvalidInput) as caught:
        check_definition(parse_definition(cyclic), REGISTRY)
    (fault,) = caught.value.faults
    assert (fault.code, fault.pointer) == ("cycle", "/steps/1/needs")
    assert fault.message.endswith("b -> c -> d -> b")
    assert _faults(document({"a": ["a"]})) == [("/steps/0/needs", "cycle")]


def test_ids_and_needs_must_be_clear() -> None:
    twice = document({"a": []})
    twice["steps"].append(twice["steps"][0])
    assert _faults(twice) == [("/steps/1/id", "duplicate_id")]
    assert _faults(document({"a": ["ghost"]})) == [("/steps/0/needs/0", "unknown_step")]


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ({"uses": "toy.missing"}, "/steps/1/uses", "unknown_operation"),
        ({"with": {"n": "three"}}, "/steps/1/with/n", "schema"),
        ({"with": {"n": "three", "text": "${spec.x}"}}, "/steps/1/with/n", "schema"),
        ({"with": {"wrong": "${spec.x}"}}, "/steps/1/with/wrong", "schema"),
        ({"uses": "toy.need", "with": {"other": "${spec.x}"}}, "/steps/1/with", "schema"),
        ({"uses": "toy.need"}, "/steps/1/with", "schema"),
        ({"with": {"any": [1, {"deep": "${1 +}"}]}}, "/steps/1/with/any/1/deep", "bad_expression"),
        ({"with": {"any": "${steps.ghost.output}"}}, "/steps/1/with/any", "unknown_reference"),
        ({"with": {"any": "${steps.c.output}"}}, "/steps/1/with/any", "unreachable_reference"),
        ({"with": {"any": "${steps.b.output}"}}, "/steps/1/with/any", "unreachable_reference"),
        ({"with": {"any": "${steps[spec.which].output}"}}, "/steps/1/with/any", "bad_expression"),
        ({"with": {"any": "${item}"}}, "/steps/1/with/any", "bad_expression"),
        ({"when": "steps.c.output.ok"}, "/steps/1/when", "unreachable_reference"),
        ({"when": "secrets.TOKEN == 'x'"}, "/steps/1/when", "bad_expression"),
        ({"when": "spec.n + 1"}, "/steps/1/when", "bad_expression"),
        ({"foreach": "spec.n == 1"}, "/steps/1/foreach", "bad_expression"),
        ({"foreach": "item.more"}, "/steps/1/foreach", "bad_expression"),
        ({"foreach": "${secrets.TOKEN}"}, "/steps/1/foreach", "bad_expression"),
        (_undo("toy.missing"), "/steps/1/compensate/uses", "unknown_operation"),
        (_undo(n="three"), "/steps/1/compensate/with/n", "schema"),
        (_undo(any="${1 +}"), "/steps/1/compensate/with/any", "bad_expression"),
        (_undo(any="${item}"), "/steps/1/compensate/with/any", "bad_expression"),
        (_undo(any="${steps.c.output}"), "/steps/1/compensate/with/any", "unreachable_reference"),
        (_undo(any="${steps.ghost.output}"), "/steps/1/compensate/with/any", "unknown_reference"),
        ({"with": {"any": "${output}"}}, "/steps/1/with/any", "bad_expression"),
    ],
)
def test_each_fault_has_its_place(members: dict[str, Any], pointer: str, code: str) -> None:
    assert _faults(_step(**members)) == [(pointer, code)]


def test_what_is_right_passes() -> None:
    flow = document(
        {"a": [], "b": ["a"], "c": ["b"]},
        b={
            "foreach": "${steps.a.output.parts}",
            "when": "item != null",
            "with": {"any": "${item} of ${index}"},
        },
        c={
            "with": {
                "text": "Bearer ${secrets.TOKEN} $${plain}",
                "any": ["${steps.a.output}", "${steps.b.output}"],
            }
        },
    )
    check_definition(parse_definition(flow), REGISTRY)


def test_a_compensation_sees_what_its_step_saw_and_made() -> None:
    texts = "${output.id} ${input} ${steps.a.output} ${steps.b.output} ${spec.x} ${run.id} ${secrets.TOKEN}"
    flow = _step(**_undo(any=texts))
    check_definition(parse_definition({**flow, "on_failure": "compensate"}), REGISTRY)
    fan = _step(foreach="${spec.items}", **_undo(any="${item} ${index} ${output}"))
    check_definition(parse_definition(fan), REGISTRY)


def test_a_workflow_that_compensates_nothing_says_so() -> None:
    assert _faults({**document({"a": []}), "on_failure": "compensate"}) == [
        ("/on_failure", "nothing_to_compensate")
    ]
