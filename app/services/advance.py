"""The one way forward of a run: its ready steps become canvases that are sent."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import hot, nesting, undo, waits
from app.db.engine import Connection
from app.db.ids import new_id
from app.domain.errors import OperationFailed
from app.domain.tracing import parse_traceparent
from app.observability.context import run_context
from app.services.children import begin_child, send_again, tell_parent
from app.services.failing import failing
from app.services.ports import Engine
from app.services.send import Parcel, send_parcels
from workflows.decisions import evaluate_foreach
from workflows.definition import UNDO
from workflows.lots import deal, with_messages
from workflows.nesting import evaluate_child
from workflows.plan import Plan
from workflows.segments import MAX_STRETCH, ReadyStep, Segment, Stretch, narrow, restrict, segments_for
from workflows.waits import evaluate_wait

log = logging.getLogger(__name__)

STEPS_AT_ONCE = 2000
ROUNDS = 200
"""Enough for the widest permitted run; what is left over then is the dispatcher's."""
CHILDREN_AT_ONCE = 50
"""How many sub-workflows one transaction begins: it holds their parent's lock."""
ITEMS_AT_ONCE = 10_000
"""How many items of fans one transaction writes, before the next step is decided."""
FAMILY_AT_MOST = 100_000
"""How many runs may stand below one intent's run, itself among them: fans of fans grow by powers."""
FULL = OperationFailed(
    "too_many_runs", f"an intent's run makes at most {FAMILY_AT_MOST} runs below it", retryable=False
)
RUNS_AT_ONCE = 5_000
"""How many runs, parents with their children, one call may bring forward; the others are recovery's."""


@dataclass(slots=True)
class Decided:
    """What one transaction decided: how many steps, with how many items in all; which runs began by that,
    which have to be sent again."""

    steps: int = 0
    items: int = 0
    begun: list[UUID] = field(default_factory=list)
    again: list[UUID] = field(default_factory=list)


def advance(engine: Engine, tenant_id: UUID, run_id: UUID) -> None:
    """Expand what fans out, let wait what waits, send what is ready, until nothing is left to do.

    A step that is a sub-workflow becomes a run, which is brought forward in turn; the end of such a run
    brings its parent forward. Harmless to call at any time, by many at once: the run's row lock serialises
    the marking. When the broker is away the steps stay unsent. Raises Unavailable when the database is away.
    """
    due = deque([run_id])
    for _ in range(RUNS_AT_ONCE):
        if not due:
            return
        here = due.popleft()
        with run_context(tenant_id, here):
            due.extend(_advance_one(engine, tenant_id, here))
    log.warning("advance_unfinished", extra={"run_id": str(run_id), "runs": RUNS_AT_ONCE})


def _advance_one(engine: Engine, tenant_id: UUID, run_id: UUID) -> Iterator[UUID]:
    """Bring one run forward; yield the children that began by that, the parent that goes on by its end."""
    may_have_ended = True
    for _ in range(ROUNDS):
        with engine.database.tenant(tenant_id) as connection:
            found = hot.ready_steps(connection, tenant_id, run_id, STEPS_AT_ONCE)
            if found is None or not found.steps:
                if found is not None and found.next_run is not None:
                    yield found.next_run
                break
            decided = _decide(engine, connection, tenant_id, run_id, found)
            marked = None if decided.steps else _mark(engine, connection, tenant_id, run_id, found)
        for child in decided.again:
            send_again(engine, tenant_id, child)
        yield from (*decided.begun, *decided.again)
        may_have_ended = bool(decided.steps)
        if may_have_ended:
            continue
        if marked is None or not send_parcels(engine, [marked]):
            return
    else:
        log.warning("advance_unfinished", extra={"rounds": ROUNDS})
    if may_have_ended:
        parent = tell_parent(engine, tenant_id, run_id)
        if parent is not None:
            yield parent


def _decide(
    engine: Engine, connection: Connection, tenant_id: UUID, run_id: UUID, found: hot.Ready
) -> Decided:
    """Write what each ready fan fans out to, what each ready wait waits for, which run a step becomes."""
    decided = Decided()
    full = _is_full(connection, tenant_id, run_id, found)
    for step in found.steps:
        if step.definition is None:
            continue
        decided.steps += 1
        try:
            value = _evaluated(engine, tenant_id, step)
            if step.is_fan:
                hot.expand_step(connection, tenant_id, run_id, step.base, value)
                decided.items += len(value)
            elif "workflow" in step.definition:
                if full and value is not None:
                    hot.fail_decision(connection, tenant_id, run_id, step.key, FULL.as_error())
                    continue
                begun = begin_child(connection, tenant_id, run_id, step.key, step.definition, value)
                if begun.child is not None:
                    (decided.again if begun.verdict == "again" else decided.begun).append(begun.child)
            else:
                waits.begin_wait(connection, tenant_id, run_id, step.key, value)
        except OperationFailed as fault:
            hot.fail_decision(connection, tenant_id, run_id, step.key, fault.as_error())
        if len(decided.begun) >= CHILDREN_AT_ONCE or decided.items >= ITEMS_AT_ONCE:
            break
    return decided


def _is_full(connection: Connection, tenant_id: UUID, run_id: UUID, found: hot.Ready) -> bool:
    """Tell whether the run, with all that stand around it, may begin no further sub-workflow.

    What undoes one, or skips it, has no spec, and begins none.
    """
    calls = any(step.definition and "workflow" in step.definition and not step.is_fan for step in found.steps)
    return calls and nesting.count_family(connection, tenant_id, run_id, FAMILY_AT_MOST) >= FAMILY_AT_MOST


def _evaluated(engine: Engine, tenant_id: UUID, step: hot.ReadyRow) -> Any:
    """Return the items of a fan, the spec of a sub-workflow, or what the step waits for.

    Raises OperationFailed, whatever an expression meets: a step that could not be decided would come back
    for ever. Raises Unavailable when the database or the artifact store is away.
    """
    definition = step.definition
    with failing("decision_raised"):
        context = engine.artifacts.opened(tenant_id, step.context)
        if step.is_fan:
            return evaluate_foreach(definition, context)
        if "workflow" in definition:
            return None if definition.get("undo") else evaluate_child(definition, context)
        return evaluate_wait(definition, context)


def _mark(
    engine: Engine, connection: Connection, tenant_id: UUID, run_id: UUID, found: hot.Ready
) -> Parcel | None:
    """Mark the steps of the next segments as sent; None while the broker is away or nothing was marked.

    Siblings beyond the worker processes of their queue go without messages: others take them along.
    """
    broker_epoch = engine.sender.epoch()
    if broker_epoch is None:
        return None
    plan = engine.plans.get(connection, tenant_id, found.plan_hash)
    ready = [ReadyStep(step.key, step.base, step.item) for step in found.steps]
    if ready[0].base.startswith(UNDO):
        # A run is compensated when nothing else of it is open.
        links = undo.chain(connection, tenant_id, run_id, MAX_STRETCH)
        segments: Sequence[Segment] = [Segment(links[0][1], (Stretch(tuple(key for key, _ in links)),))]
    else:
        segments = segments_for(plan, ready, found.item_counts)
        if found.limited:
            segments = narrow(segments)
    keys = [key for segment in segments for key in segment.keys]
    carriers = [segment.carrier for segment in segments for _ in segment.keys]
    dealt = _dealt(engine, connection, plan, segments)
    sent = hot.mark_sent(connection, tenant_id, run_id, keys, carriers, broker_epoch, dealt)
    if not sent.epochs:
        return None
    loose = frozenset(key for key, place in dealt.items() if place.loose)
    segments = with_messages(restrict(segments, frozenset(sent.epochs)), loose)
    trace = parse_traceparent(found.trace)
    return Parcel(plan, tenant_id, run_id, segments, sent.epochs, sent.lots, trace)


def _dealt(
    engine: Engine, connection: Connection, plan: Plan, segments: Sequence[Segment]
) -> Mapping[str, hot.Place]:
    """Return the places of the steps that share lots."""

    def queue_of(key: str) -> str:
        return plan.step(key.partition(".")[0]).queue

    def hands_on(key: str) -> bool:
        base, _, item = key.partition(".")
        return bool(item) and "max_parallel" in plan.step(base).definition

    hands = deal(segments, queue_of, lambda queue: engine.slots.of(connection, queue), hands_on)
    return {key: hot.Place(lot, loose) for hand in hands for lot in (new_id(),) for key, loose in hand.keys}
