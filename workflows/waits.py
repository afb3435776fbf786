"""What a step waits for: a time, a signal, approvals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from app.domain.errors import Fault
from app.domain.identity import ROLES
from app.domain.waits import Waiting
from workflows.cel import ExpressionError, Scope
from workflows.decisions import DecisionFailed, evaluate_when
from workflows.definition import Definition
from workflows.specs import pointer
from workflows.templates import SecretRef, compile_template

MAX_WAIT_S = 1_830 * 86_400
_TIMES = ("for", "until", "timeout")
_DURATION = re.compile(
    r"P(?!$)(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?!$)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)
_SECONDS = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}


def evaluate_wait(definition: Mapping[str, Any], context: Mapping[str, Any]) -> Waiting | None:
    """Return what the step waits for, None when its `when` is false; raises DecisionFailed."""
    if not evaluate_when(definition, context):
        return None
    wait: Mapping[str, Any] = definition["wait"]
    scope = Scope(context)
    try:
        times = {name: compile_template(wait[name], False).render(scope) for name in _TIMES if name in wait}
        if "until" in wait:
            return Waiting(times, until=moment_of(times["until"]))
        if "for" in wait:
            return Waiting(times, duration_of(times["for"]))
        shown = {"signal": wait["signal"], **times}
        if "approvers" in wait:
            shown["approvers"] = {"count": 1, **wait["approvers"]}
        return Waiting(shown, duration_of(times["timeout"]) if times else None)
    except (ExpressionError, ValueError) as error:
        raise DecisionFailed("wait_failed", f"wait: {error}") from error


def duration_of(value: Any) -> float:
    """Return the seconds of an ISO 8601 duration of weeks, days, hours, minutes, seconds, or of a number.

    Raises ValueError for anything else, and for more than five years.
    """
    seconds = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = sum(float(amount) * _SECONDS[unit] for unit, amount in match.groupdict("0").items())
    if seconds is None:
        raise ValueError(f"{str(value)[:100]!r} is no duration such as PT5M or P1DT12H")
    if not 0 <= seconds <= MAX_WAIT_S:
        raise ValueError(f"{str(value)[:100]!r} is not between nothing and {MAX_WAIT_S // 86_400} days")
    return seconds


def moment_of(value: Any) -> datetime:
    """Return the moment of an RFC 3339 text, in UTC; raises ValueError for anything else.

    Also for one of the first or the last day that Python knows, which in UTC is none.
    """
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{str(value)[:100]!r} is no time such as 2030-01-31T08:00:00Z") from error
    raise ValueError(f"{value[:100]!r} names no offset from UTC")


def _time_fault(text: str, parse: Callable[[Any], object]) -> tuple[str, str] | None:
    """Return code and message of what is wrong with a time; an expression is judged when it has its value."""
    try:
        parts = compile_template(text, False).parts
    except ExpressionError:
        return None  # told with all other expressions
    if any(isinstance(part, SecretRef) for part in parts):
        return "bad_expression", "secrets stand in with only"
    if all(isinstance(part, str) for part in parts):
        try:
            parse("".join(map(str, parts)))
        except ValueError as error:
            return "bad_time", str(error)
    return None


def wait_faults(definition: Definition) -> Iterator[Fault]:
    """Yield what is wrong with the waits: literal times, unknown roles, one signal for two votes."""
    users: dict[str, int] = {}
    votes: set[str] = set()
    for step in definition.steps:
        if step.wait and "signal" in step.wait:
            users[step.wait["signal"]] = users.get(step.wait["signal"], 0) + 1
            if "approvers" in step.wait:
                votes.add(step.wait["signal"])
    for index, step in enumerate(definition.steps):
        at = f"/steps/{index}/wait"
        for name, parse in (("for", duration_of), ("until", moment_of), ("timeout", duration_of)):
            text = (step.wait or {}).get(name)
            if text is None:
                continue
            fault = _time_fault(text, parse)
            if fault is not None:
                yield Fault(pointer(at, name), *fault)
        signal = (step.wait or {}).get("signal")
        if signal in votes and users[signal] > 1:
            message = f"the approval {signal!r} belongs to one step alone"
            yield Fault(pointer(at, "signal"), "duplicate_signal", message)
        for place, role in enumerate((step.wait or {}).get("approvers", {}).get("roles", ())):
            if role not in ROLES:
                yield Fault(f"{at}/approvers/roles/{place}", "unknown_role", f"there is no role {role!r}")
