"""Workflows that run as steps: found, pinned, compiled into their parents' plans, judged, evaluated."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.services.library import WorkflowLibrary
from tests.unit.workflows.shapes import REGISTRY
from workflows.builder import Workflow
from workflows.catalog import Catalogue, IntentType
from workflows.checks import check_definition
from workflows.decisions import DecisionFailed
from workflows.nesting import MAX_NESTING, UnknownWorkflow, evaluate_child, evaluate_output, pinned
from workflows.parsing import parse_definition
from workflows.plan import Plan, compile_plan, load_plan

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def flow(name: str, *calls: str, version: int = 1, **more: Any) -> dict[str, Any]:
    steps = [{"id": f"s{n}", "workflow": call} for n, call in enumerate(calls)] or [
        {"id": "do", "uses": "toy.do"}
    ]
    return {"name": name, "version": version, "steps": steps, **more}


def library(*documents: dict[str, Any], types: tuple[IntentType, ...] = ()) -> WorkflowLibrary:
    return WorkflowLibrary(Catalogue(tuple(map(parse_definition, documents)), types, {}), REGISTRY)


def compiled(document: dict[str, Any], *others: dict[str, Any]) -> Plan:
    definition, known = parse_definition(document), library(*others)
    check_definition(definition, REGISTRY, known)
    return compile_plan(definition, REGISTRY, known)


def test_a_name_without_a_version_becomes_the_newest_one() -> None:
    known = library(flow("a", version=1), flow("a", version=3), flow("a", version=2))
    document = flow("b", "a", "a@1", "gone")
    assert [step["workflow"] for step in pinned(document, known)["steps"]] == ["a@3", "a@1", "gone"]
    assert document["steps"][0]["workflow"] == "a", "the caller's document stays"


def test_the_plan_of_the_parent_names_the_plan_of_the_child() -> None:
    child = flow("a", output={"x": "${spec.y}"})
    parent = compiled(flow("b", "a@1", output={"z": ["${steps.s0.output.x}"]}), child)
    (step,) = parent.steps
    assert (step.operation, step.queue, step.first_carrier, parent.fans) == ("workflow", "", None, {"s0"})
    (plan,) = parent.below.values()
    assert step.definition["workflow"] == {"name": "a", "version": 1, "plan_hash": plan.hash}
    assert list(parent.family) == [parent.hash, plan.hash]
    assert (parent.nesting, plan.nesting) == (1, 0)
    assert parent.output == {"value": {"z": ["${steps.s0.output.x}"]}, "refs": ["s0"], "uses_spec": False}
    stored = load_plan(json.loads(json.dumps(parent.document)), parent.hash)
    assert (stored, stored.output, stored.fans) == (parent, parent.output, parent.fans)
    changed = {**child, "steps": [{"id": "do", "uses": "toy.do", "timeout": 9}]}
    assert compiled(flow("b", "a@1", output={"z": ["${steps.s0.output.x}"]}), changed).hash != parent.hash


def test_a_parent_undoes_a_child_that_can_be_undone() -> None:
    undo = {"compensate": {"uses": "toy.do"}}
    child = {"name": "a", "version": 1, "steps": [{"id": "do", "uses": "toy.do", **undo}]}
    grandparent, parent = flow("c", "b@1", on_failure="compensate"), flow("b", "a@1")
    plan = compiled(grandparent, parent, child)
    (row,) = plan.undo
    assert (row.base, row.undoes, row.operation, row.queue) == ("undo-s0", "s0", "workflow", "")
    assert row.definition == {"workflow": "b", "undo": True, "on_failure": True}
    own = {**parent, "steps": [{**parent["steps"][0], **undo}]}
    assert [step.operation for step in compiled(own, child).undo] == ["toy.do"], (
        "what the step says goes first"
    )
    with pytest.raises(InvalidInput, match="no step says"):
        compiled(flow("b", "a@1", on_failure="compensate"), flow("a"))
    assert compiled(flow("b", "a@1"), flow("a")).undo == ()


def test_a_workflow_that_is_not_there_is_refused() -> None:
    with pytest.raises(UnknownWorkflow, match="gone@2"):
        compile_plan(parse_definition(flow("b", "gone@2")), REGISTRY)
    with pytest.raises(InvalidInput) as caught:
        check_definition(parse_definition(flow("b", "gone@2")), REGISTRY)
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [
        ("/steps/0/workflow", "unknown_workflow")
    ]


def test_five_levels_nest_and_six_do_not() -> None:
    chain = [flow("w0"), *(flow(f"w{n}", f"w{n - 1}") for n in range(1, MAX_NESTING + 1))]
    assert compiled(*reversed(chain)).nesting == MAX_NESTING
    with pytest.raises(InvalidInput, match="not valid") as caught:
        compiled(flow("w6", f"w{MAX_NESTING}"), *chain)
    assert caught.value.faults[0].code == "too_deep"


def test_a_family_is_counted_once_however_many_steps_run_it() -> None:
    calls = 100  # steps of each level: followed one by one they would be 100 to the fourth
    chain = [flow("w0"), *(flow(f"w{n}", *[f"w{n - 1}"] * calls) for n in range(1, MAX_NESTING + 1))]
    plan = compiled(*reversed(chain))
    assert (plan.nesting, len(plan.family)) == (MAX_NESTING, MAX_NESTING + 1)


def test_a_family_of_too_many_steps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    family = [flow("leaf"), flow("pair", "leaf", "leaf"), flow("trio", "leaf", "pair", "pair")]
    monkeypatch.setattr("app.services.library.MAX_FAMILY_STEPS", 6)
    assert len(compiled(flow("top", "trio", "pair"), *family).family) == len(family) + 1
    monkeypatch.setattr("app.services.library.MAX_FAMILY_STEPS", 5)
    with pytest.raises(InvalidInput) as caught:
        compiled(flow("top", "trio", "pair"), *family)
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [("/steps", "too_many_steps")]


def test_schemas_that_would_fill_a_plan_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    types = (IntentType("t", 1, "job", "", {"title": "x" * 100}, "leaf", 1),)
    known = WorkflowLibrary(Catalogue((parse_definition(flow("leaf")),), types, {}), REGISTRY)
    definition = parse_definition(flow("top", *["leaf"] * 3))
    check_definition(definition, REGISTRY, known)
    monkeypatch.setattr("workflows.checks.MAX_SCHEMA_CHARACTERS", 300)
    with pytest.raises(InvalidInput) as caught:
        check_definition(definition, REGISTRY, known)
    assert [(fault.pointer, fault.code) for fault in caught.value.faults] == [("/steps", "too_large")]


def test_workflows_that_run_each_other_are_refused_with_their_path() -> None:
    with pytest.raises(InvalidInput) as caught:
        library(flow("a", "b"), flow("b", "a")).find("a", None)
    assert caught.value.faults[0].message == "the workflows run each other: a@1 -> b@1 -> a@1"


def test_a_type_that_names_the_workflow_judges_its_spec() -> None:
    types = tuple(IntentType("t", n, "job", "", schema, "a", 1) for n, schema in enumerate(({}, SCHEMA), 1))
    found = library(flow("a"), types=types).find("a", 1)
    assert found is not None and found.spec_schema == SCHEMA, "the newest one"
    definition = {"with": {"n": "${spec.n}"}, "when": "spec.go", "workflow": found.row()}
    assert evaluate_child(definition, {"spec": {"n": 1, "go": False}}) is None
    assert evaluate_child(definition, {"spec": {"n": 1, "go": True}}) == {"n": 1}
    for n, code in (("x", "invalid_spec"), (None, "invalid_spec")):
        with pytest.raises(DecisionFailed, match="/with/n") as caught:
            evaluate_child(definition, {"spec": {"n": n, "go": True}})
        assert caught.value.code == code
    free = {"with": {"n": "${spec.n}"}, "when": None, "workflow": {"name": "a", "version": 1}}
    with pytest.raises(DecisionFailed, match="262144"):
        evaluate_child(free, {"spec": {"n": "x" * 262_200}})


def test_the_output_is_evaluated_or_tells_why_not() -> None:
    assert evaluate_output({"a": ["${steps.x.output}", 1]}, {"steps": {"x": {"output": 2}}}) == {"a": [2, 1]}
    with pytest.raises(DecisionFailed, match=r"^output: ") as caught:
        evaluate_output({"a": "${steps.x.output.b}"}, {"steps": {"x": {"output": None}}})
    assert caught.value.code == "output_failed"


def test_python_builds_what_yaml_says() -> None:
    built = Workflow("b", 1)
    first = built.step("first", "toy.do")
    built.call("each", "a@1", needs=[first], foreach="${spec.list}", max_parallel=2, spec={"n": "${item}"})
    built.output(all="${steps.each.output}")
    document = built.document()
    assert document["steps"][1] == {
        "id": "each",
        "workflow": "a@1",
        "needs": ["first"],
        "foreach": "${spec.list}",
        "max_parallel": 2,
        "with": {"n": "${item}"},
    }
    plan = compiled(document, flow("a"))
    assert plan.step("each").is_fan
    assert plan.output["refs"] == ["each"]
