"""Small plans for the tests of the planner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from app.domain.modules import Module, ModuleRegistry
from workflows.builder import Need
from workflows.canvas import Bind, bind_messages
from workflows.parsing import parse_definition
from workflows.plan import Plan, compile_plan

TENANT = UUID("01900000-0000-7000-8000-00000000000a")
RUN = UUID("01900000-0000-7000-8000-00000000000b")

_toy = Module("toy", "1.0.0", "For tests")


@_toy.operation(
    "do",
    input_schema={
        "type": "object",
        "properties": {"n": {"type": "integer"}, "text": {"type": "string"}, "any": {}},
        "additionalProperties": False,
    },
    timeout_s=20,
)
def _do(_context: Any, **_given: Any) -> None:
    """Do nothing."""


@_toy.operation(
    "need", input_schema={"type": "object", "required": ["n"], "properties": {"n": {"minimum": 1}}}
)
def _need(_context: Any, **_given: Any) -> None:
    """Need a number."""


REGISTRY = ModuleRegistry([_toy])


def document(needs: Mapping[str, Sequence[Need]], fans: Iterable[str] = (), **changes: Any) -> dict[str, Any]:
    """A workflow document of no-op steps; `changes` maps a step id to members that replace its own."""
    steps = []
    for step, wanted in needs.items():
        members: dict[str, Any] = {"id": step, "uses": "toy.do", "needs": list(wanted)}
        if step in fans:
            members["foreach"] = "${spec.items}"
        steps.append(members | changes.get(step, {}))
    return {"name": "toy.flow", "version": 1, "steps": steps}


def plan(needs: Mapping[str, Sequence[str]], fans: Iterable[str] = ()) -> Plan:
    """The compiled plan of such a document."""
    return compile_plan(parse_definition(document(needs, fans)), REGISTRY)


def bind(of: Plan, *keys: str) -> Bind:
    """Messages in epoch 1 for all steps of the plan, and for the keys of items."""
    return bind_messages(of, TENANT, RUN, dict.fromkeys([step.base for step in of.steps] + list(keys), 1))
