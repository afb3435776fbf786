"""The evaluation of a step's `when`, `with`, `foreach` against a run's rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.domain.documents import DEEPEST, too_deep
from app.domain.errors import OperationFailed
from workflows.cel import ExpressionError, Scope, compile_expression
from workflows.definition import MAX_ITEMS
from workflows.templates import SecretRef, SecretText, compile_template


class DecisionFailed(OperationFailed):
    """An expression failed on this run's data; the same data would fail again, so it is not retried."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message, retryable=False)


@dataclass(frozen=True, slots=True)
class StepInput:
    """A step's input: `stored` may be kept, as it shows secrets by name only."""

    stored: dict[str, Any]
    secrets: frozenset[str]
    values: Mapping[str, Any]

    def resolve(self, lookup: Mapping[str, str]) -> dict[str, Any]:
        """Return the operation's input with each secret put in its place; raises KeyError for one missing."""
        if not self.secrets:
            return dict(self.values)
        return {key: _resolved(value, lookup) for key, value in self.values.items()}


def evaluate_when(definition: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    """Tell whether the step is to run; raises DecisionFailed."""
    source = definition.get("when")
    if source is None:
        return True
    value = _evaluate(source, _is_item(definition), context, "when")
    if not isinstance(value, bool):
        raise DecisionFailed("when_failed", f"when gives {_kind(value)}, not true or false")
    return value


def evaluate_with(definition: Mapping[str, Any], context: Mapping[str, Any]) -> StepInput:
    """Return the step's input with all expressions replaced by their values; raises DecisionFailed.

    Text that comes out of an expression is never read as an expression again.
    """
    # A compensation was checked for what it may name; here all of it exists.
    undo = bool(definition.get("undo"))
    frame = _Frame(Scope(context), undo or _is_item(definition), undo, set())
    try:
        values = {key: _render(value, frame) for key, value in definition.get("with", {}).items()}
    except ExpressionError as error:
        raise DecisionFailed("with_failed", f"with: {error}") from error
    if too_deep(values):
        raise DecisionFailed("with_failed", f"with: it nests deeper than {DEEPEST} levels")
    stored = {key: _shown(value) for key, value in values.items()} if frame.secrets else values
    return StepInput(stored, frozenset(frame.secrets), values)


def evaluate_foreach(definition: Mapping[str, Any], context: Mapping[str, Any]) -> list[Any]:
    """Return the items of the fan, at most 10,000; raises DecisionFailed."""
    foreach = definition["foreach"]
    items = foreach if isinstance(foreach, list) else _evaluate(foreach, False, context, "foreach")
    if not isinstance(items, list):
        raise DecisionFailed("foreach_failed", f"foreach gives {_kind(items)}, not a list")
    if len(items) > MAX_ITEMS:
        raise DecisionFailed("foreach_too_wide", f"foreach gives {len(items)} items; {MAX_ITEMS} are allowed")
    if too_deep(items):
        raise DecisionFailed("foreach_failed", f"foreach: it nests deeper than {DEEPEST} levels")
    return items


def _kind(value: Any) -> str:
    """Return what JSON calls the type of a value."""
    names = {bool: "a boolean", str: "a string", dict: "an object", list: "a list", type(None): "null"}
    return names.get(type(value), "a number")


def _is_item(definition: Mapping[str, Any]) -> bool:
    return definition.get("foreach") is not None


def _evaluate(source: str, item: bool, context: Mapping[str, Any], part: str) -> Any:
    try:
        return Scope(context).evaluate(compile_expression(source, item))
    except ExpressionError as error:
        raise DecisionFailed(f"{part}_failed", f"{part}: {error}") from error


@dataclass(frozen=True, slots=True)
class _Frame:
    """What templates are rendered in; `secrets` collects the names that they use."""

    scope: Scope
    item: bool
    undo: bool
    secrets: set[str]


def _render(value: Any, frame: _Frame) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value
        done = compile_template(value, frame.item, frame.undo).render(frame.scope)
        if isinstance(done, SecretText):
            frame.secrets.update(part.name for part in done.parts if isinstance(part, SecretRef))
        return done
    if isinstance(value, dict):
        return {key: _render(member, frame) for key, member in value.items()}
    if isinstance(value, list):
        return [_render(member, frame) for member in value]
    return value


def _shown(value: Any) -> Any:
    if isinstance(value, SecretText):
        return str(value)
    if isinstance(value, dict):
        return {key: _shown(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_shown(member) for member in value]
    return value


def _resolved(value: Any, lookup: Mapping[str, str]) -> Any:
    if isinstance(value, SecretText):
        return "".join(lookup[part.name] if isinstance(part, SecretRef) else part for part in value.parts)
    if isinstance(value, dict):
        return {key: _resolved(member, lookup) for key, member in value.items()}
    if isinstance(value, list):
        return [_resolved(member, lookup) for member in value]
    return value
