"""The built-in module `core`: small operations that every workflow may use."""

from __future__ import annotations

import threading
import time
from typing import Any

from app.domain.errors import OperationFailed
from app.domain.modules import Module, OperationContext

LOOK_EVERY_S = 0.1
LONGEST_WAIT_S = 3600

module = Module("core", "1.0.0", "Echo, wait, assert: the operations that need nothing around them")


@module.operation(
    "echo",
    input_schema={
        "type": "object",
        "properties": {"message": {"description": "Any JSON value"}},
        "required": ["message"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "required": ["message"]},
    timeout_s=30,
)
def echo(context: OperationContext, *, message: Any) -> dict[str, Any]:  # noqa: ARG001 - the fixed signature
    """Return the message as it came."""
    return {"message": message}


@module.operation(
    "wait",
    input_schema={
        "type": "object",
        "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_S}},
        "required": ["seconds"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "required": ["waited_s"]},
    timeout_s=LONGEST_WAIT_S + 60,
)
def wait(context: OperationContext, *, seconds: float) -> dict[str, Any]:
    """Wait so many seconds, at most an hour; a cancellation ends it within a tenth of a second.

    Raises OperationFailed (`cancelled`) when the run is cancelled meanwhile.
    """
    pause = threading.Event()  # never set: waiting for it is a sleep in short pieces
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if context.cancelled():
            raise OperationFailed("cancelled", "cancelled while waiting", retryable=False)
        context.heartbeat(1 - left / seconds, f"{left:.0f} s left")
        pause.wait(min(left, LOOK_EVERY_S))
    return {"waited_s": seconds}


@module.operation(
    "fail_until",
    input_schema={
        "type": "object",
        "properties": {"attempt": {"type": "integer", "minimum": 1}},
        "required": ["attempt"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "required": ["attempt"]},
    timeout_s=30,
)
def fail_until(context: OperationContext, *, attempt: int) -> dict[str, Any]:
    """Fail every try before the given attempt, to see retries at work.

    Raises OperationFailed (`too_early`, retryable) while `context.attempt` is below `attempt`.
    """
    if context.attempt < attempt:
        raise OperationFailed(
            "too_early",
            f"attempt {context.attempt} fails on purpose, attempt {attempt} will succeed",
            retryable=True,
        )
    return {"attempt": context.attempt}


@module.operation(
    "assert",
    input_schema={
        "type": "object",
        "properties": {"condition": {"type": "boolean"}, "message": {"type": "string"}},
        "required": ["condition"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "required": ["asserted"]},
    timeout_s=30,
)
def assert_condition(
    context: OperationContext,  # noqa: ARG001 - the fixed signature
    *,
    condition: bool,
    message: str = "the condition is false",
) -> dict[str, Any]:
    """Fail the step with the message unless the condition is true.

    Raises OperationFailed (`assertion_failed`, not retryable).
    """
    if condition is not True:
        raise OperationFailed("assertion_failed", message, retryable=False)
    return {"asserted": True}
