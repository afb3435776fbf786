"""The one way forward of a run: its ready steps become canvases that are sent."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.db import hot, waits
from app.db.engine import Connection
from app.services.ports import Engine
from app.services.send import send_segments
from workflows.decisions import DecisionFailed, evaluate_foreach
from workflows.plan import Plan
from workflows.segments import ReadyStep, Segment, restrict, segments_for
from workflows.waits import evaluate_wait

log = logging.getLogger(__name__)

STEPS_AT_ONCE = 2000
ROUNDS = 200
"""Enough for the widest permitted run; what is left over then is the dispatcher's."""


@dataclass(frozen=True, slots=True)
class Marked:
    """Segments whose steps are marked as sent by a transaction that is about to commit."""

    plan: Plan
    segments: Sequence[Segment]
    epochs: Mapping[str, int]


def advance(engine: Engine, tenant_id: UUID, run_id: UUID) -> None:
    """Expand what fans out, let wait what waits, send what is ready, until nothing is left to do.

    Harmless to call at any time, by many at once: the run's row lock serialises the marking. When the
    broker is away the steps stay unsent. Raises Unavailable when the database is away.
    """
    for _ in range(ROUNDS):
        with engine.database.tenant(tenant_id) as connection:
            found = hot.ready_steps(connection, tenant_id, run_id, STEPS_AT_ONCE)
            if found is None or not found.steps:
                return
            decided = _decide(connection, tenant_id, run_id, found)
            marked = None if decided else _mark(engine, connection, tenant_id, run_id, found)
        if decided:
            continue
        if marked is None or not send_segments(
            engine, marked.plan, tenant_id, run_id, marked.segments, marked.epochs
        ):
            return
    log.warning("advance_unfinished", extra={"run_id": str(run_id), "rounds": ROUNDS})


def _decide(connection: Connection, tenant_id: UUID, run_id: UUID, found: hot.Ready) -> bool:
    """Write what each ready fan fans out to, what each ready wait waits for; tell whether there was any."""
    decidable = [step for step in found.steps if step.definition is not None]
    for step in decidable:
        try:
            if step.is_fan:
                items = evaluate_foreach(step.definition, step.context)
                hot.expand_step(connection, tenant_id, run_id, step.base, items)
            else:
                waiting = evaluate_wait(step.definition, step.context)
                waits.begin_wait(connection, tenant_id, run_id, step.key, waiting)
        except DecisionFailed as fault:
            hot.fail_decision(connection, tenant_id, run_id, step.key, fault.as_error())
    return bool(decidable)


def _mark(
    engine: Engine, connection: Connection, tenant_id: UUID, run_id: UUID, found: hot.Ready
) -> Marked | None:
    """Mark the steps of the next segments as sent; None while the broker is away or nothing was marked."""
    broker_epoch = engine.sender.epoch()
    if broker_epoch is None:
        return None
    plan = engine.plans.get(connection, tenant_id, found.plan_hash)
    ready = [ReadyStep(step.key, step.base, step.item) for step in found.steps]
    segments = segments_for(plan, ready, found.item_counts)
    keys = [key for segment in segments for key in segment.keys]
    carriers = [segment.carrier for segment in segments for _ in segment.keys]
    epochs = hot.mark_sent(connection, tenant_id, run_id, keys, carriers, broker_epoch)
    if not epochs:
        return None
    return Marked(plan, restrict(segments, frozenset(epochs)), epochs)
