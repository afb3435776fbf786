"""The concurrency key of a workflow: a text made from the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.domain.errors import Fault, InvalidInput
from workflows.cel import ExpressionError, Scope
from workflows.definition import Concurrency
from workflows.templates import SecretRef, as_text, compile_template

LONGEST_KEY = 255


def key_faults(concurrency: Concurrency) -> Iterator[Fault]:
    """Yield what is wrong with the key of a definition: it may read the spec, nothing else."""
    at = "/concurrency/key"
    try:
        template = compile_template(concurrency.key, False)
    except ExpressionError as error:
        yield Fault(at, "bad_expression", str(error))
        return
    if any(isinstance(part, SecretRef) for part in template.parts):
        yield Fault(at, "bad_expression", "a key is stored as it is: it may not hold a secret")
    if any(expression.refs for expression in template.expressions):
        yield Fault(
            at, "unknown_reference", "no step has run yet when the key is made: it reads the spec only"
        )


def concurrency_of(declared: Mapping[str, Any], spec: Any) -> dict[str, Any]:
    """Return `key`, `limit`, `on_full` for a run with this spec; raises InvalidInput when there is no key."""
    scope = Scope({"spec": spec, "steps": {}, "run": {}})
    try:
        key = as_text(compile_template(declared["key"], False).render(scope))
    except ExpressionError as error:
        raise InvalidInput.at("/spec", "concurrency_key", f"the concurrency key: {error}") from error
    if not 1 <= len(key) <= LONGEST_KEY:
        message = f"the concurrency key has {len(key)} characters; from 1 to {LONGEST_KEY} are allowed"
        raise InvalidInput.at("/spec", "concurrency_key", message)
    return {**declared, "key": key}
