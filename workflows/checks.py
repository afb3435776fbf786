"""The judgement whether a definition can run here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from app.domain.errors import Fault, InvalidInput
from app.domain.modules import ModuleRegistry
from workflows.cel import Expression, ExpressionError, compile_expression
from workflows.concurrency import key_faults
from workflows.definition import WAIT, WORKFLOW, Definition, StepDefinition
from workflows.graph import Cycle, Graph, build_graph
from workflows.nesting import NO_LIBRARY, Library, child_fault, child_of, secret_faults
from workflows.specs import canonical_json, check_schema, pointer, validate_spec
from workflows.templates import Template, compile_template
from workflows.waits import wait_faults

MAX_FAULTS = 50
MAX_SCHEMA_CHARACTERS = 4_000_000
"""In one plan, which keeps with each step the schema of the workflow that it runs."""


def check_definition(definition: Definition, registry: ModuleRegistry, library: Library = NO_LIBRARY) -> None:
    """Raise InvalidInput with the place of each fault: ids, needs, cycles, operations, input, expressions.

    `library` has the workflows that its steps may run.
    """
    faults = list(_names(definition))
    graph: Graph | None = None
    if not faults:
        try:
            graph = build_graph({step.id: step.needs for step in definition.steps})
        except Cycle as cycle:
            index = next(n for n, step in enumerate(definition.steps) if step.id == cycle.path[0])
            faults.append(Fault(f"/steps/{index}/needs", "cycle", f"the steps form a cycle: {cycle}"))
    for index, step in enumerate(definition.steps):
        faults += _expressions(step, f"/steps/{index}", graph)
        if step.uses == WORKFLOW:
            faults += _workflow(step, f"/steps/{index}", library)
        elif step.uses != WAIT:
            faults += _operation(step, f"/steps/{index}", registry)
        faults += _compensation(step, f"/steps/{index}/compensate", graph, registry)
    if definition.compensates and not any(_is_undone(step, library) for step in definition.steps):
        faults.append(Fault("/on_failure", "nothing_to_compensate", "no step says how it is compensated"))
    faults += _schemas(definition, library)
    faults += wait_faults(definition)
    faults += _output(definition)
    if definition.concurrency is not None:
        faults += key_faults(definition.concurrency)
    if faults:
        raise InvalidInput(tuple(faults[:MAX_FAULTS]))


def _names(definition: Definition) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for index, step in enumerate(definition.steps):
        if first.setdefault(step.id, index) != index:
            message = f"the id {step.id!r} stands at /steps/{first[step.id]} already"
            yield Fault(f"/steps/{index}/id", "duplicate_id", message)
    for index, step in enumerate(definition.steps):
        for place, need in enumerate(step.needs):
            if need not in first:
                yield Fault(f"/steps/{index}/needs/{place}", "unknown_step", f"there is no step {need!r}")
            elif need in step.needs[:place]:
                yield Fault(f"/steps/{index}/needs/{place}", "duplicate_need", f"{need!r} is named twice")


def _operation(step: StepDefinition, at: str, registry: ModuleRegistry) -> Iterator[Fault]:
    operation = registry.find(step.uses)
    if operation is None:
        message = f"no installed module has an operation {step.uses!r}"
        yield Fault(pointer(at, "uses"), "unknown_operation", message)
        return
    yield from _inputs(step, operation.input_schema, pointer(at, "with"), step.uses)


def _workflow(step: StepDefinition, at: str, library: Library) -> Iterator[Fault]:
    child = child_of(step, library)
    yield from child_fault(step, child, at)
    yield from secret_faults(_texts(step.inputs, pointer(at, "with")))
    if child is not None and child.spec_schema is not None:
        yield from _inputs(step, child.spec_schema, pointer(at, "with"), str(step.workflow))


def _schemas(definition: Definition, library: Library) -> Iterator[Fault]:
    """Yield a fault when the schemas that the plan keeps with its sub-workflows would fill the memory."""
    sizes: dict[str | None, int] = {None: 0}
    total = 0
    for step in definition.steps:
        if step.workflow not in sizes:
            child = child_of(step, library)
            sizes[step.workflow] = len(canonical_json((child and child.spec_schema) or {}))
        total += sizes[step.workflow]
    if total > MAX_SCHEMA_CHARACTERS:
        message = f"the workflows that it runs have schemas of more than {MAX_SCHEMA_CHARACTERS} characters"
        yield Fault("/steps", "too_large", message)


def _output(definition: Definition) -> Iterator[Fault]:
    known = {step.id for step in definition.steps}
    yield from secret_faults(_texts(definition.output, "/output"))
    for where, text in _texts(definition.output, "/output"):
        try:
            expressions = compile_template(text, False).expressions
        except ExpressionError as error:
            yield Fault(where, "bad_expression", str(error))
            continue
        for ref in sorted({ref for expression in expressions for ref in expression.refs} - known):
            yield Fault(where, "unknown_reference", f"there is no step {ref!r}")


def _inputs(step: StepDefinition, schema: Mapping[str, Any], where: str, taker: str) -> Iterator[Fault]:
    """Judge the `with` of a step, at `where`, by the schema of what takes it."""
    static = {key: value for key, value in step.inputs.items() if not _is_dynamic(value)}
    if len(static) == len(step.inputs):
        yield from validate_spec(schema, _unescaped(static), where)
        return
    # What an expression will give is unknown: members written as literals are judged one by one.
    members = {key: schema[key] for key in ("properties", "additionalProperties", "$defs") if key in schema}
    yield from validate_spec({"type": "object", **members}, _unescaped(static), where)
    if schema.get("additionalProperties") is False:
        for key in step.inputs.keys() - static.keys() - schema.get("properties", {}).keys():
            yield Fault(pointer(where, key), "schema", f"{taker} takes no {key!r}")
    for key in schema.get("required", ()):
        if key not in step.inputs:
            yield Fault(where, "schema", f"{key!r} is a required property")


def _expressions(step: StepDefinition, at: str, graph: Graph | None) -> Iterator[Fault]:
    item = step.foreach is not None
    if step.when is not None:
        yield from _expression(step, step.when, item, pointer(at, "when"), graph, "bool")
    if isinstance(step.foreach, str):
        yield from _expression(step, step.foreach, False, pointer(at, "foreach"), graph, "list")
    given = [*_texts(step.inputs, pointer(at, "with")), *_texts(step.wait or {}, pointer(at, "wait"))]
    for where, text in given:
        try:
            template: Template = compile_template(text, item)
        except ExpressionError as error:
            yield Fault(where, "bad_expression", str(error))
            continue
        for expression in template.expressions:
            yield from _references(step, expression, where, graph)


def _is_undone(step: StepDefinition, library: Library) -> bool:
    """Tell whether the step, or a step of the workflow that it runs, says how it is compensated."""
    child = child_of(step, library) if step.workflow is not None else None
    return step.compensate is not None or (child is not None and bool(child.plan.undo))


def _compensation(
    step: StepDefinition, at: str, graph: Graph | None, registry: ModuleRegistry
) -> Iterator[Fault]:
    """Judge how the step is undone: by what it saw itself, with its own input and output."""
    undo = step.compensate
    if undo is None:
        return
    for where, text in _texts(undo.inputs, pointer(at, "with")):
        try:
            template = compile_template(text, step.foreach is not None, True)
        except ExpressionError as error:
            yield Fault(where, "bad_expression", str(error))
            continue
        for expression in template.expressions:
            others = replace(expression, refs=expression.refs - {step.id})
            yield from _references(step, others, where, graph)
    yield from _operation(undo, at, registry)


def _expression(
    step: StepDefinition, source: str, item: bool, at: str, graph: Graph | None, wanted: str
) -> Iterator[Fault]:
    try:
        expression = compile_expression(source, item)
    except ExpressionError as error:
        yield Fault(at, "bad_expression", str(error))
        return
    if expression.gives is not None and not expression.gives.startswith(wanted):
        yield Fault(at, "bad_expression", f"it gives {expression.gives}, where a {wanted} is wanted")
    yield from _references(step, expression, at, graph)


def _references(
    step: StepDefinition, expression: Expression, at: str, graph: Graph | None
) -> Iterator[Fault]:
    if graph is None:
        return
    for ref in sorted(expression.refs):
        if ref not in graph.position:
            yield Fault(at, "unknown_reference", f"there is no step {ref!r}")
        elif not graph.is_ancestor(ref, step.id):
            message = f"{step.id!r} does not wait for {ref!r}: add it to needs"
            yield Fault(at, "unreachable_reference", message)


def check_operation_schemas(registry: ModuleRegistry) -> tuple[Fault, ...]:
    """Return the faults of all input and output schemas of the installed operations."""
    faults: list[Fault] = []
    for module in registry.modules:
        for operation in module.operations:
            faults += check_schema(operation.input_schema, f"/{operation.name}/input_schema")
            if operation.output_schema is not None:
                faults += check_schema(operation.output_schema, f"/{operation.name}/output_schema")
    return tuple(faults)


def _is_dynamic(value: Any) -> bool:
    return any("${" in text.replace("$${", "") for _, text in _texts(value, ""))


def _unescaped(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$${", "${")
    if isinstance(value, Mapping):
        return {key: _unescaped(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_unescaped(member) for member in value]
    return value


def _texts(value: Any, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if "${" in value:
            yield at, value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from _texts(member, pointer(at, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from _texts(member, pointer(at, index))
