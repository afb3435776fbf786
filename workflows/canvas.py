"""The Celery canvas of a segment, made of task names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from celery.canvas import Signature, _chain, chord, group

from workflows.plan import Plan
from workflows.segments import Fork, Segment, Stretch

STEP_TASK = "quantum.step"


Bind = Callable[[str], Signature]
NO_LOTS: Mapping[str, UUID] = {}


def bind_messages(
    plan: Plan, tenant_id: UUID, run_id: UUID, epochs: Mapping[str, int], lots: Mapping[str, UUID] = NO_LOTS
) -> Bind:
    """Return the way from a step key to its message in the dispatch epochs and lots that `mark_sent` gave."""

    def bind(key: str) -> Signature:
        step = plan.step(key.partition(".")[0])
        return message_of((tenant_id, run_id), key, epochs[key], lots.get(key), step.queue, step.operation)

    return bind


def message_of(
    run: tuple[UUID, UUID], key: str, epoch: int, lot: UUID | None, queue: str, shadow: str
) -> Signature:
    """Return the message of a step, which says ids only; `run` are tenant and run, Flower shows `shadow`."""
    tenant_id, run_id = map(str, run)
    more = () if lot is None else (str(lot),)
    return Signature(
        STEP_TASK,
        args=(tenant_id, run_id, key, epoch, *more),
        options={"task_id": f"{run_id}:{key}:{epoch}", "queue": queue, "shadow": shadow},
        immutable=True,
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
            tail = [bind(key) for key in stage.keys] + tail
        elif isinstance(stage, Fork):
            header = group([_sequence([bind(key) for key in branch]) for branch in stage.branches])
            tail = [chord(header, body=_sequence(tail))]
    return _sequence(tail)


def _sequence(signatures: list[Signature]) -> Signature:
    return signatures[0] if len(signatures) == 1 else _chain(signatures)
