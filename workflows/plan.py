"""The compiled, static graph of a definition."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from app.domain.modules import ModuleRegistry
from workflows.cel import Expression, compile_expression
from workflows.definition import UNDO, WAIT, WORKFLOW, Definition, StepDefinition
from workflows.graph import Graph, build_graph
from workflows.nesting import NO_LIBRARY, ChildWorkflow, Library, known_child
from workflows.segments import Segment, segments_of_roots
from workflows.specs import canonical_json
from workflows.templates import compile_template


@dataclass(frozen=True, slots=True)
class PlanStep:
    """One step of a plan: time-outs in whole seconds, `seq` its topological place.

    `first_carrier` names the segment that carries it when a run starts; None when a later one does. `undoes`
    names the step that this one compensates; such a step is in no graph, and starts with no run.
    `successors_on` tells which outcome each successor needs; None when the whole plan asks for success.
    """

    base: str
    seq: int
    needs: tuple[str, ...]
    successors: tuple[str, ...]
    is_fan: bool
    operation: str
    queue: str
    soft_timeout: int
    definition: Mapping[str, Any]
    first_carrier: int | None
    successors_on: tuple[str, ...] | None = None
    undoes: str | None = None

    @property
    def outcomes(self) -> Mapping[str, str]:
        """The needs that must not end well, with how they must end: failure, always."""
        found: Mapping[str, str] = self.definition.get("needs_on", {})
        return found

    def row(self) -> dict[str, Any]:
        """Return the step as JSON, for the table of plan steps."""
        on = {} if self.successors_on is None else {"successors_on": list(self.successors_on)}
        undo = {} if self.undoes is None else {"undoes": self.undoes}
        return {
            **on,
            **undo,
            "base": self.base,
            "seq": self.seq,
            "needs": list(self.needs),
            "successors": list(self.successors),
            "is_fan": self.is_fan,
            "operation": self.operation,
            "queue": self.queue,
            "soft_timeout": self.soft_timeout,
            "definition": self.definition,
            "first_carrier": self.first_carrier,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run executes; equal definitions on equal operations give the equal hash.

    `graph` holds the edges that a canvas may travel: those of success. `fans` are the steps that no message
    carries (foreach, waits, workflows), `conditional` those which need another outcome than success. `undo`
    compensates steps. `below` are the plans of all workflows that its steps run, and theirs, by hash, in
    `nesting` levels of runs; a stored plan knows of none. `limits` are the time limits of its runs, in s.
    """

    hash: str
    name: str
    version: int
    steps: tuple[PlanStep, ...]
    undo: tuple[PlanStep, ...]
    fans: frozenset[str]
    conditional: frozenset[str]
    first_segments: tuple[Segment, ...]
    limits: Mapping[str, float] = field(compare=False)
    document: Mapping[str, Any] = field(compare=False, repr=False)
    graph: Graph = field(compare=False, repr=False)
    _index: Mapping[str, PlanStep] = field(compare=False, repr=False)
    below: Mapping[str, Plan] = field(default_factory=dict, compare=False, repr=False)
    nesting: int = field(default=0, compare=False)

    @property
    def output(self) -> Mapping[str, Any]:
        """What a run gives back, as `{"value": ..., "refs": [...], "uses_spec": ...}`; empty for nothing."""
        found: Mapping[str, Any] = self.document.get("output", {})
        return found

    @property
    def family(self) -> dict[str, Plan]:
        """This plan with all that stand below it, by hash."""
        return {self.hash: self, **self.below}

    def step(self, base: str) -> PlanStep:
        """Return the step with this id; raises KeyError."""
        return self._index[base]

    @property
    def pool(self) -> str:
        """The queue of the first operation: the one whose room a run waits for; empty when all steps wait."""
        return next((step.queue for step in self.steps if step.queue), "")

    @property
    def pools(self) -> frozenset[str]:
        """The queues of all its operations, compensations too, and of those of the plans below it."""
        steps = (step for plan in self.family.values() for step in (*plan.steps, *plan.undo))
        return frozenset(step.queue for step in steps if step.queue)

    @property
    def concurrency(self) -> Mapping[str, Any] | None:
        """The members `key`, `limit`, `on_full` of its concurrency key, if it has one."""
        found: Mapping[str, Any] | None = self.document.get("concurrency")
        return found

    @property
    def starts_undecided(self) -> bool:
        """Whether a first step fans out, or waits: what follows is decided by a look at the rows."""
        return any(not step.needs and step.base in self.fans for step in self.steps)

    @property
    def step_rows(self) -> list[dict[str, Any]]:
        """The rows that `register_plan` takes."""
        return [step.row() for step in (*self.steps, *self.undo)]


def compile_plan(definition: Definition, registry: ModuleRegistry, library: Library = NO_LIBRARY) -> Plan:
    """Compile a checked definition; an unchecked one raises Cycle, UnknownOperation, ExpressionError.

    Or UnknownWorkflow, when a step runs one that `library` does not have.
    """
    graph = build_graph({step.id: step.needs for step in definition.steps})
    written = {step.id: step for step in definition.steps}
    travel: Graph | None = graph
    children = {step.id: known_child(step, library) for step in definition.steps if step.workflow is not None}
    steps = tuple(_plan_step(written[base], graph, registry, children.get(base)) for base in graph.order)
    if any(step.outcomes for step in steps):
        steps = _with_outcomes(steps)
        travel = None
    head = {"name": definition.name, "version": definition.version}
    if definition.limits:
        head["limits"] = dict(definition.limits)
    undo = tuple(_undo_steps(definition, registry, children))
    draft = _plan("", head, steps, undo, travel)
    carriers = {key: segment.carrier for segment in draft.first_segments for key in segment.keys}
    steps = tuple(replace(step, first_carrier=carriers.get(step.base)) for step in steps)
    document = {
        **head,
        "steps": [step.row() for step in steps],
        **({"undo": [step.row() for step in undo]} if undo else {}),
        **({"output": _output(definition.output)} if definition.output else {}),
        **({"concurrency": asdict(definition.concurrency)} if definition.concurrency is not None else {}),
    }
    plan_hash = hashlib.sha256(canonical_json(document).encode()).hexdigest()
    return replace(
        draft,
        hash=plan_hash,
        steps=steps,
        document=document,
        _index=_by_base((*steps, *undo)),
        below=_below(children.values()),
        nesting=max((1 + child.plan.nesting for child in children.values()), default=0),
    )


def load_plan(document: Mapping[str, Any], plan_hash: str) -> Plan:
    """Rebuild a plan from its stored document; the hash is kept, since jsonb may respell a number."""
    steps, undo = (tuple(_step_of(row) for row in document.get(name, ())) for name in ("steps", "undo"))
    return _plan(plan_hash, document, steps, undo)


def _step_of(row: Mapping[str, Any]) -> PlanStep:
    tuples = {key: tuple(row[key]) for key in ("needs", "successors", "successors_on") if key in row}
    return PlanStep(**{**row, **tuples})


def _below(children: Iterable[ChildWorkflow]) -> dict[str, Plan]:
    """Return the plans of these workflows with all below them; each once, however many steps run it."""
    plans = {child.plan.hash: child.plan for child in children}
    return {key: plan for child in plans.values() for key, plan in child.family.items()}


def _by_base(steps: tuple[PlanStep, ...]) -> dict[str, PlanStep]:
    return {step.base: step for step in steps}


def _plan(
    plan_hash: str,
    document: Mapping[str, Any],
    steps: tuple[PlanStep, ...],
    undo: tuple[PlanStep, ...],
    travel: Graph | None = None,
) -> Plan:
    graph = travel or build_graph(
        {step.base: [need for need in step.needs if need not in step.outcomes] for step in steps}
    )
    fans = frozenset(step.base for step in steps if step.is_fan or step.operation in (WAIT, WORKFLOW))
    conditional = frozenset(step.base for step in steps if step.outcomes)
    return Plan(
        hash=plan_hash,
        name=document["name"],
        version=document["version"],
        steps=steps,
        undo=undo,
        fans=fans,
        conditional=conditional,
        first_segments=segments_of_roots(graph, fans, conditional),
        limits=document.get("limits", {}),
        document=document,
        graph=graph,
        _index=_by_base((*steps, *undo)),
    )


def _plan_step(
    step: StepDefinition, graph: Graph, registry: ModuleRegistry, child: ChildWorkflow | None
) -> PlanStep:
    waits = step.uses == WAIT
    operation = None if waits or child is not None else registry.operation(step.uses)
    soft_timeout = 0 if operation is None else max(1, math.ceil(step.timeout_s or operation.timeout_s))
    return PlanStep(
        base=step.id,
        seq=graph.position[step.id],
        needs=graph.needs[step.id],
        successors=graph.successors[step.id],
        is_fan=step.foreach is not None,
        operation=step.uses,
        queue="" if operation is None else step.queue or operation.queue,
        soft_timeout=soft_timeout,
        definition=_wait_definition(step) if waits else _definition(step, soft_timeout, child),
        first_carrier=None,
    )


def _undo_steps(
    definition: Definition, registry: ModuleRegistry, children: Mapping[str, ChildWorkflow]
) -> Iterator[PlanStep]:
    """Yield what compensates each step: what it says; else, of a sub-workflow, what that one's steps say."""
    for step in definition.steps:
        if step.compensate:
            yield _undo_step(step, step.compensate, definition.compensates, registry)
        elif (child := children.get(step.id)) is not None and child.plan.undo:
            yield _undo_run(step, child, definition.compensates)


def _undo_run(step: StepDefinition, child: ChildWorkflow, on_failure: bool) -> PlanStep:
    return PlanStep(
        base=UNDO + step.id,
        seq=0,
        needs=(),
        successors=(),
        is_fan=False,
        operation=WORKFLOW,
        queue="",
        soft_timeout=0,
        definition={"workflow": child.plan.name, "undo": True, "on_failure": on_failure},
        first_carrier=None,
        undoes=step.id,
    )


def _undo_step(
    step: StepDefinition, undo: StepDefinition, on_failure: bool, registry: ModuleRegistry
) -> PlanStep:
    """Return what compensates a step, which sees what its step saw, and the step's own input and output."""
    operation = registry.operation(undo.uses)
    soft_timeout = max(1, math.ceil(undo.timeout_s or operation.timeout_s))
    used = [
        expression
        for text in _texts(undo.inputs)
        for expression in compile_template(text, step.foreach is not None, True).expressions
    ]
    definition = {
        **_definition(replace(undo, inputs={}, cache=False), soft_timeout, None),
        "with": undo.inputs,
        "refs": _refs(used),
        "uses_spec": any(expression.uses_spec for expression in used),
        "undo": True,
        "on_failure": on_failure,
    }
    return PlanStep(
        base=undo.id,
        seq=0,
        needs=(),
        successors=(),
        is_fan=False,
        operation=undo.uses,
        queue=undo.queue or operation.queue,
        soft_timeout=soft_timeout,
        definition=definition,
        first_carrier=None,
        undoes=step.id,
    )


def _with_outcomes(steps: tuple[PlanStep, ...]) -> tuple[PlanStep, ...]:
    """Give each step the outcomes that its successors wait for."""
    wanted = {step.base: step.outcomes for step in steps}
    return tuple(
        replace(step, successors_on=tuple(wanted[name].get(step.base, "success") for name in step.successors))
        for step in steps
    )


def _wait_definition(step: StepDefinition) -> dict[str, Any]:
    """Return what `advance` needs of a step that waits, with the rows that its expressions read."""
    own = [
        *step_expressions(step),
        *(e for t in _texts(step.wait) for e in compile_template(t, False).expressions),
    ]
    return {
        "wait": step.wait,
        "when": step.when,
        "continue_on_failure": step.continue_on_failure,
        "foreach_refs": _refs(own),
        "foreach_uses_spec": any(expression.uses_spec for expression in own),
        **_needs_on(step),
    }


def _needs_on(step: StepDefinition) -> dict[str, Any]:
    return {"needs_on": dict(step.outcomes)} if step.outcomes else {}


def _definition(step: StepDefinition, soft_timeout: int, child: ChildWorkflow | None) -> dict[str, Any]:
    """Return what the worker needs of a step, with the rows that its expressions read."""
    own, of_fan = list(step_expressions(step)), list(foreach_expressions(step))
    return {
        "with": step.inputs,
        "when": step.when,
        "foreach": list(step.foreach) if isinstance(step.foreach, tuple) else step.foreach,
        "retry": {
            "attempts": step.retry.attempts,
            "backoff_s": step.retry.backoff_s,
            "factor": step.retry.factor,
            "max_s": step.retry.max_s,
            "jitter": step.retry.jitter,
        },
        "timeout_s": soft_timeout if child is None else step.timeout_s or 0,
        "continue_on_failure": step.continue_on_failure,
        "refs": _refs(own),
        "uses_spec": any(expression.uses_spec for expression in own),
        "foreach_refs": _refs(of_fan),
        "foreach_uses_spec": any(expression.uses_spec for expression in of_fan),
        **({} if step.cache else {"cache": False}),
        **({"max_parallel": step.max_parallel} if step.max_parallel is not None else {}),
        **({"workflow": child.row()} if child is not None else {}),
        **_needs_on(step),
    }


def _output(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run gives back, with the rows that its expressions read."""
    own = [e for text in _texts(value) for e in compile_template(text, False).expressions]
    return {
        "value": dict(value),
        "refs": _refs(own),
        "uses_spec": any(expression.uses_spec for expression in own),
    }


def step_expressions(step: StepDefinition) -> Iterator[Expression]:
    """Yield the expressions of `when` and `with`; raises ExpressionError."""
    item = step.foreach is not None
    if step.when is not None:
        yield compile_expression(step.when, item)
    for text in _texts(step.inputs):
        yield from compile_template(text, item).expressions


def foreach_expressions(step: StepDefinition) -> Iterator[Expression]:
    """Yield the expression of `foreach` unless it is a literal list; raises ExpressionError."""
    if isinstance(step.foreach, str):
        yield compile_expression(step.foreach, False)


def _refs(expressions: list[Expression]) -> list[str]:
    return sorted(frozenset().union(*(expression.refs for expression in expressions)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if "${" in value:
            yield value
    elif isinstance(value, Mapping):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)
