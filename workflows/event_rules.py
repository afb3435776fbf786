"""What a trigger says about an event: whether it fits, what it declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workflows.cel import Expression, ExpressionError, Scope, compile_expression
from workflows.templates import SecretRef, SecretText, compile_template


def check_filter(source: str) -> None:
    """Raise ExpressionError unless the filter compiles and may give true or false; it reads `event` only."""
    expression = compile_expression(source, False, event=True)
    gives = expression.gives or _member_type(expression)
    if gives not in (None, "bool"):
        raise ExpressionError(f"the filter gives {gives}, not true or false")


def _member_type(expression: Expression) -> str | None:
    """Return the type of a plain path that ends outside of the event's data, None for any other.

    Raises ExpressionError for a member that no event has.
    """
    match expression.path:
        case ("event",) | ("event", "data"):
            return "map"
        case ("event", "id" | "type" | "subject" | "time"):
            return "string"
        case ("event", "data", *_) | None:
            return None
        case _:
            raise ExpressionError(f"{expression.source}: an event has id, type, subject, time, data")


def check_template(value: Any) -> bool:
    """Tell whether the JSON value holds expressions over `event`; raises ExpressionError for a bad one."""
    if isinstance(value, str):
        parts = compile_template(value, False, event=True).parts if "${" in value else ()
        if any(isinstance(part, SecretRef) for part in parts):
            raise ExpressionError("secrets stand in workflows only")
        return any(isinstance(part, Expression) for part in parts)
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    # Each of them is looked at: one with an expression must not hide a bad one behind it.
    return sum(check_template(member) for member in members) > 0


def fits(source: str | None, event: Mapping[str, Any]) -> bool:
    """Tell whether the filter lets the event through; raises ExpressionError, also for no boolean."""
    if source is None:
        return True
    value = Scope({"event": event}).evaluate(compile_expression(source, False, event=True))
    if not isinstance(value, bool):
        raise ExpressionError(f"the filter gives {type(value).__name__}, not true or false")
    return value


def rendered(value: Any, event: Mapping[str, Any]) -> Any:
    """Return the JSON value with each `${...}` replaced; raises ExpressionError.

    Text that comes out of an expression is never read as an expression again.
    """
    return _rendered(value, Scope({"event": event}))


def _rendered(value: Any, scope: Scope) -> Any:
    if isinstance(value, str):
        if "${" not in value:
            return value
        done = compile_template(value, False, event=True).render(scope)
        if isinstance(done, SecretText):
            raise ExpressionError("secrets stand in workflows only")
        return done
    if isinstance(value, dict):
        return {key: _rendered(member, scope) for key, member in value.items()}
    if isinstance(value, list):
        return [_rendered(member, scope) for member in value]
    return value
