"""Waits, needs with an outcome: read, judged, planned, decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from tests.unit.workflows.shapes import REGISTRY, document
from workflows.builder import Workflow
from workflows.checks import check_definition
from workflows.decisions import DecisionFailed
from workflows.parsing import parse_definition
from workflows.plan import Plan, compile_plan, load_plan
from workflows.segments import ReadyStep, Segment, segments_for
from workflows.waits import duration_of, evaluate_wait

CONTEXT = {"spec": {"at": "2030-01-31T08:00:00+02:00", "minutes": 3}, "steps": {}, "run": {}}
ALWAYS = {"step": "a", "on": "always"}
MIXED = {"work": [], "mend": ["work"], "more": ["work"], "last": ["more"], "clean": ["mend", "last"]}


def _flow(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"name": "toy.flow", "version": 1, "steps": list(steps)}


def _wait(**members: Any) -> dict[str, Any]:
    return _flow({"id": "a", "wait": members})


def _faults(broken: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        check_definition(parse_definition(broken), REGISTRY)
    return [(fault.pointer, fault.code) for fault in caught.value.faults]


def _mixed() -> Plan:
    needs = {
        "mend": {"needs": [{"step": "work", "on": "failure"}]},
        "clean": {"needs": ["mend", {"step": "last", "on": "always"}]},
    }
    return compile_plan(parse_definition(document(MIXED, **needs)), REGISTRY)


@pytest.mark.parametrize(
    ("broken", "pointer", "code"),
    [
        (_flow({"id": "a"}), "/steps/0", "schema"),
        (_flow({"id": "a", "uses": "toy.do", "wait": {"for": "PT1S"}}), "/steps/0/uses", "schema"),
        (_flow({"id": "a", "foreach": [1], "wait": {"for": "PT1S"}}), "/steps/0/foreach", "schema"),
        (_wait(), "/steps/0/wait", "schema"),
        (_wait(**{"for": "PT1S", "until": "x"}), "/steps/0/wait", "schema"),
        (_wait(**{"for": "PT1S", "timeout": "PT1S"}), "/steps/0/wait", "schema"),
        (_wait(**{"for": "5 minutes"}), "/steps/0/wait/for", "bad_time"),
        (_wait(**{"for": "${secrets.LONG}"}), "/steps/0/wait/for", "bad_expression"),
        (_wait(**{"for": "${steps.b.output}"}), "/steps/0/wait/for", "unknown_reference"),
        (_wait(until="2030-01-31T08:00:00"), "/steps/0/wait/until", "bad_time"),
        (_wait(signal="go", timeout="P9Y"), "/steps/0/wait/timeout", "bad_time"),
        (_wait(until="9999-12-31T23:59:59-14:00"), "/steps/0/wait/until", "bad_time"),
        (_wait(until="0001-01-01T00:00:00+14:00"), "/steps/0/wait/until", "bad_time"),
        (_wait(signal="Go!"), "/steps/0/wait/signal", "schema"),
        (
            _wait(signal="go", approvers={"roles": ["boss"]}),
            "/steps/0/wait/approvers/roles/0",
            "unknown_role",
        ),
        (
            _flow(
                {"id": "a", "wait": {"signal": "go", "approvers": {"roles": ["operator"]}}},
                {"id": "b", "wait": {"signal": "go"}},
            ),
            "/steps/0/wait/signal",
            "duplicate_signal",
        ),
        (document({"a": [], "b": ["a", ALWAYS]}), "/steps/1/needs/1", "duplicate_need"),
        (document({"a": [{"step": "a", "on": "maybe"}]}), "/steps/0/needs/0", "schema"),
    ],
)
def test_each_fault_has_its_place(broken: dict[str, Any], pointer: str, code: str) -> None:
    assert (pointer, code) in _faults(broken)


@pytest.mark.parametrize(
    ("text", "seconds"), [("PT5M", 300), ("P1DT12H", 129_600), ("P2W", 1_209_600), ("PT0.5S", 0.5), (90, 90)]
)
def test_durations(text: Any, seconds: float) -> None:
    assert duration_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["P", "PT", "P1DT", "P1Y", "5", "-PT5M", "P9999W", True, None, -1, float("nan")]
)
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(ValueError, match=r"duration|between"):
        duration_of(text)


def test_a_wait_is_decided_by_the_rows() -> None:
    plan = compile_plan(
        parse_definition(
            _flow(
                {"id": "a", "wait": {"for": "PT${spec.minutes}M"}},
                {"id": "b", "wait": {"until": "${spec.at}"}, "when": "spec.minutes > 3"},
                {"id": "c", "wait": {"until": "${spec.at}"}},
                {
                    "id": "d",
                    "wait": {"signal": "go", "timeout": "PT1H", "approvers": {"roles": ["operator"]}},
                },
            )
        ),
        REGISTRY,
    )
    assert plan.first_segments == (), "no message carries a wait"
    found = {step.base: evaluate_wait(step.definition, CONTEXT) for step in plan.steps}
    assert found["a"] is not None
    assert found["a"].seconds == 180
    assert found["b"] is None
    assert found["c"] is not None
    assert found["c"].until == datetime(2030, 1, 31, 6, tzinfo=UTC)
    assert found["d"] is not None
    assert (found["d"].seconds, found["d"].shown["approvers"]["count"]) == (3600, 1)
    with pytest.raises(DecisionFailed, match="no duration"):
        evaluate_wait({"wait": {"for": "${spec.at}"}, "when": None}, CONTEXT)


def test_only_success_travels_in_a_canvas() -> None:
    plan = _mixed()
    assert [segment.keys for segment in plan.first_segments] == [("work", "more", "last")]
    assert plan.step("work").successors_on == ("failure", "success")
    assert plan.step("last").successors_on == ("always",)
    after: tuple[Segment, ...] = segments_for(plan, [ReadyStep("mend", "mend"), ReadyStep("clean", "clean")])
    assert [segment.keys for segment in after] == [("mend",), ("clean",)]
    again = load_plan(plan.document, plan.hash)
    assert again == plan
    assert again.step_rows == plan.step_rows


def test_a_plan_without_outcomes_keeps_its_form() -> None:
    rows = compile_plan(parse_definition(document({"a": [], "b": [{"step": "a"}]})), REGISTRY).step_rows
    assert not any("successors_on" in row for row in rows)
    assert rows == compile_plan(parse_definition(document({"a": [], "b": ["a"]})), REGISTRY).step_rows


def test_the_builder_writes_both() -> None:
    flow = Workflow("toy.flow", 1)
    gate = flow.wait("gate", {"signal": "go"})
    flow.step("mend", "toy.do", needs=[{"step": gate, "on": "failure"}])
    flow.chain("gate", "mend")
    assert flow.document()["steps"] == [
        {"id": "gate", "wait": {"signal": "go"}},
        {"id": "mend", "uses": "toy.do", "needs": [{"step": "gate", "on": "failure"}]},
    ]
