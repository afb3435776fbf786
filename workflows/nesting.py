"""The workflows that a definition runs as steps of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from app.domain.errors import Fault
from workflows.cel import ExpressionError
from workflows.decisions import DecisionFailed, evaluate_when, evaluate_with
from workflows.definition import StepDefinition
from workflows.specs import canonical_json, validate_spec
from workflows.templates import SecretRef, compile_template

if TYPE_CHECKING:
    from workflows.plan import Plan

MAX_NESTING = 5
"""How many runs may stand below each other, the first one not counted."""
MAX_FAMILY_STEPS = 20_000
"""How many steps a workflow may have with all those that it runs, each of them counted once."""
MAX_SPEC_CHARACTERS = 256 * 1024


@dataclass(frozen=True, slots=True)
class ChildWorkflow:
    """A workflow as a step runs it: its plan, the schema of its spec when an intent type names it."""

    plan: Plan
    spec_schema: Mapping[str, Any] | None = None

    def row(self) -> dict[str, Any]:
        """Return what the plan of the parent keeps of it."""
        schema = {} if self.spec_schema is None else {"spec_schema": dict(self.spec_schema)}
        return {
            "name": self.plan.name,
            "version": self.plan.version,
            "plan_hash": self.plan.hash,
            **schema,
        }


class Library(Protocol):
    """Finds the workflows that a definition may name."""

    def find(self, name: str, version: int | None) -> ChildWorkflow | None:
        """Return the workflow, the newest version when `version` is None; None when there is none."""


class NoLibrary:
    """Has no workflows."""

    def find(self, name: str, version: int | None) -> ChildWorkflow | None:  # noqa: ARG002 - as the protocol has it
        """Return None."""
        return None


NO_LIBRARY = NoLibrary()


class UnknownWorkflow(ValueError):
    """A step names a workflow that is not there."""


def child_of(step: StepDefinition, library: Library) -> ChildWorkflow | None:
    """Return the workflow that the step runs, None when there is none of this name and version."""
    return library.find(*_reference(step.workflow or ""))


def known_child(step: StepDefinition, library: Library) -> ChildWorkflow:
    """Return the workflow that the step runs; raises UnknownWorkflow."""
    child = child_of(step, library)
    if child is None:
        raise UnknownWorkflow(f"there is no workflow {step.workflow!r}")
    return child


def pinned(document: Mapping[str, Any], library: Library) -> dict[str, Any]:
    """Return a well-formed document with a version behind each workflow it names; unknown names stay."""
    return {**document, "steps": [_pinned(step, library) for step in document["steps"]]}


def _pinned(step: Mapping[str, Any], library: Library) -> dict[str, Any]:
    name, version = _reference(step.get("workflow", ""))
    child = library.find(name, None) if name and version is None else None
    return {**step} if child is None else {**step, "workflow": f"{name}@{child.plan.version}"}


def _reference(text: str) -> tuple[str, int | None]:
    name, _, version = text.partition("@")
    return name, int(version) if version else None


def child_fault(step: StepDefinition, child: ChildWorkflow | None, at: str) -> Iterator[Fault]:
    """Yield what is wrong with the workflow that the step at `at` names."""
    if child is None:
        yield Fault(f"{at}/workflow", "unknown_workflow", f"there is no workflow {step.workflow!r}")
    elif child.plan.nesting >= MAX_NESTING:
        message = f"{step.workflow} nests {child.plan.nesting} levels itself, of {MAX_NESTING} in all"
        yield Fault(f"{at}/workflow", "too_deep", message)


def secret_faults(texts: Iterator[tuple[str, str]]) -> Iterator[Fault]:
    """Yield a fault for each text that names a secret, since whatever it becomes is kept for all to read."""
    for at, text in texts:
        try:
            parts = compile_template(text, True).parts
        except ExpressionError:
            continue  # told with all other expressions
        if any(isinstance(part, SecretRef) for part in parts):
            yield Fault(at, "bad_expression", "secrets stand in the with of operations only")


def evaluate_child(definition: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the spec of the run that the step becomes, None when `when` is false; raises DecisionFailed."""
    if not evaluate_when(definition, context):
        return None
    spec = evaluate_with(definition, context).stored
    workflow: Mapping[str, Any] = definition["workflow"]
    if len(canonical_json(spec)) > MAX_SPEC_CHARACTERS:
        raise DecisionFailed("spec_too_large", f"a spec has at most {MAX_SPEC_CHARACTERS} characters")
    for fault in validate_spec(workflow.get("spec_schema", {}), spec, "/with"):
        message = f"{workflow['name']}@{workflow['version']}: {fault.pointer}: {fault.message}"
        raise DecisionFailed("invalid_spec", message)
    return spec


def evaluate_output(output: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run that ended well gives back, from the `output` of its plan; raises DecisionFailed."""
    try:
        return evaluate_with({"with": output}, context).stored
    except DecisionFailed as fault:
        raise DecisionFailed("output_failed", str(fault).replace("with: ", "output: ", 1)) from fault
