"""The way from a workflow document to a frozen definition."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from app.domain.errors import InvalidInput
from app.domain.retry import RetryPolicy
from workflows.definition import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    MAX_NODES,
    UNDO,
    WAIT,
    WORKFLOW,
    Concurrency,
    Definition,
    StepDefinition,
)
from workflows.limits import read_limits
from workflows.specs import EVERY_PLACE, pointer, validate_spec
from workflows.yaml12 import Loader


def parse_definition(document: Any) -> Definition:
    """Return the definition that a JSON document describes; raises InvalidInput with the place of each fault.

    Only the form is judged here; `workflows.checks.check_definition` judges the graph.
    """
    check_bounds(document)
    faults = validate_spec(definition_schema(), document, most=EVERY_PLACE)
    if faults:
        raise InvalidInput(faults)
    return Definition(
        name=document["name"],
        version=int(document["version"]),
        description=document.get("description", ""),
        steps=tuple(_step(step) for step in document["steps"]),
        output=document.get("output", {}),
        concurrency=Concurrency(**document["concurrency"]) if "concurrency" in document else None,
        limits=read_limits(document),
        compensates=document.get("on_failure") == "compensate",
    )


def parse_text(text: str) -> Any:
    """Return the document in a YAML or JSON text; raises InvalidInput when it is neither or too large."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput.at("", "too_large", f"more than {MAX_CHARACTERS} characters")
    try:
        return yaml.load(text, Loader=Loader)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InvalidInput.at("", "syntax", str(error)[:500]) from error


@cache
def definition_schema() -> dict[str, Any]:
    """Return the JSON Schema of a workflow document."""
    schema: dict[str, Any] = json.loads(
        files("workflows").joinpath("schema/definition.json").read_text("utf-8")
    )
    return schema


def check_bounds(document: Any) -> None:
    """Raise InvalidInput unless `document` is JSON that PostgreSQL can keep, within the limits."""
    values = characters = 0
    pending: list[tuple[Any, str, int]] = [(document, "", 1)]
    while pending:
        value, at, depth = pending.pop()
        values += 1
        if depth > MAX_DEPTH:
            raise InvalidInput.at(at, "too_deep", f"nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, str):
            characters += len(value)
            _check_text(value, at)
        elif isinstance(value, Mapping):
            for key, member in value.items():
                if not isinstance(key, str):
                    raise InvalidInput.at(at, "syntax", f"the key {key!r} is not a string")
                characters += len(key)
                _check_text(key, at)
                pending.append((member, pointer(at, key), depth + 1))
        elif isinstance(value, list):
            pending.extend((member, pointer(at, index), depth + 1) for index, member in enumerate(value))
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput.at(at, "syntax", f"{value} is not a JSON number")
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise InvalidInput.at(at, "syntax", f"{type(value).__name__} is not a JSON type")
        if values > MAX_NODES or characters > MAX_CHARACTERS:
            limits = f"{MAX_NODES} values or {MAX_CHARACTERS} characters"
            raise InvalidInput.at("", "too_large", f"more than {limits}")


def _check_text(text: str, at: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput.at(at, "syntax", "a lone surrogate is not text") from error
    if "\0" in text:
        raise InvalidInput.at(at, "syntax", "the character U+0000 cannot be kept")


def _step(step: Mapping[str, Any]) -> StepDefinition:
    foreach = step.get("foreach")
    needs = [{"step": need} if isinstance(need, str) else need for need in step.get("needs", ())]
    return StepDefinition(
        id=step["id"],
        uses=WAIT if "wait" in step else WORKFLOW if "workflow" in step else step["uses"],
        inputs=step.get("with", {}),
        needs=tuple(need["step"] for need in needs),
        outcomes={need["step"]: need["on"] for need in needs if need.get("on", "success") != "success"},
        wait=step.get("wait"),
        workflow=step.get("workflow"),
        when=_condition(step.get("when")),
        foreach=tuple(foreach) if isinstance(foreach, list) else _bare(foreach),
        max_parallel=step.get("max_parallel"),
        retry=_retry(step.get("retry", {})),
        timeout_s=step.get("timeout"),
        queue=step.get("queue"),
        continue_on_failure=step.get("continue_on_failure", False),
        cache=step.get("cache", True),
        compensate=_step({**step["compensate"], "id": UNDO + step["id"]}) if "compensate" in step else None,
    )


def _retry(retry: Mapping[str, Any]) -> RetryPolicy:
    names = {
        "attempts": "attempts",
        "backoff": "backoff_s",
        "factor": "factor",
        "cap": "max_s",
        "jitter": "jitter",
    }
    return RetryPolicy(**{names[key]: value for key, value in retry.items()})


def _condition(when: str | bool | None) -> str | None:
    if isinstance(when, bool):
        return "true" if when else "false"
    return _bare(when)


def _bare(expression: str | None) -> str | None:
    """Return CEL without the optional `${` and `}` around it."""
    if expression is None:
        return None
    text = expression.strip()
    return text[2:-1].strip() if text.startswith("${") and text.endswith("}") else text
