"""The Celery canvas of a segment, made of task names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from celery.canvas import Signature, _chain, chord, group

from workflows.plan import Plan
from workflows.segments import Fork, Segment, Stretch

STEP_TASK = "quantum.step"


@dataclass(frozen=True, slots=True)
class StepMessage:
    """What one step's message says: ids only; `shadow` is the name Flower shows."""

    task_id: str
    args: tuple[str | int, ...]
    queue: str
    shadow: str


Bind = Callable[[str], StepMessage]


NO_LOTS: Mapping[str, UUID] = {}


def bind_messages(
    plan: Plan, tenant_id: UUID, run_id: UUID, epochs: Mapping[str, int], lots: Mapping[str, UUID] = NO_LOTS
) -> Bind:
    """Return the way from a step key to its message in the dispatch epochs and lots that `mark_sent` gave."""

    def bind(key: str) -> StepMessage:
        step = plan.step(key.partition(".")[0])
        return message_of((tenant_id, run_id), key, epochs[key], lots.get(key), step.queue, step.operation)

    return bind


def message_of(
    run: tuple[UUID, UUID], key: str, epoch: int, lot: UUID | None, queue: str, shadow: str
) -> StepMessage:
    """Return the message of a step; `run` are tenant and run."""
    tenant_id, run_id = map(str, run)
    more = () if lot is None else (str(lot),)
    return StepMessage(
        task_id=f"{run_id}:{key}:{epoch}",
        args=(tenant_id, run_id, key, epoch, *more),
        queue=queue,
        shadow=shadow,
    )


def canvas_of(segment: Segment, bind: Bind) -> Signature:
    """Return the canvas: a signature, a chain, or a chord whose body goes on as a chain.

    It belongs to no app: send it with the app's connection. Signatures are immutable, as a step takes
    nothing from the one before.
    """
    tail: list[Signature] = []
    for index in range(len(segment.stages) - 1, -1, -1):
        stage = segment.stages[index]
        if isinstance(stage, Stretch):
            tail = [_signature(bind(key)) for key in stage.keys] + tail
        elif isinstance(stage, Fork):
            header = group(
                [_sequence([_signature(bind(key)) for key in branch]) for branch in stage.branches]
            )
            tail = [chord(header, body=_sequence(tail))]
    return _sequence(tail)


def signature_of(message: StepMessage, **options: Any) -> Signature:
    """Return the signature of one step, with what else Celery is to know of it."""
    return _signature(message).set(**options)


def _sequence(signatures: list[Signature]) -> Signature:
    return signatures[0] if len(signatures) == 1 else _chain(signatures)


def _signature(message: StepMessage) -> Signature:
    return Signature(
        STEP_TASK,
        args=message.args,
        options={
            "task_id": message.task_id,
            "queue": message.queue,
            "shadow": message.shadow,
        },
        immutable=True,
    )
