"""The sending of marked segments: what cannot be sent is unmarked, so that the dispatcher sends it later."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import hot
from app.domain.errors import Unavailable
from app.domain.tracing import TraceContext
from app.observability import tracing
from app.observability.context import run_context
from app.services.ports import Engine
from workflows.canvas import bind_messages, canvas_of
from workflows.plan import Plan
from workflows.segments import Segment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Segments of one run whose steps are marked as sent under these epochs, some as members of lots."""

    plan: Plan
    tenant_id: UUID
    run_id: UUID
    segments: Sequence[Segment]
    epochs: Mapping[str, int]
    lots: Mapping[str, UUID] = field(default_factory=dict)
    trace: TraceContext | None = None
    """The span of the run, where that is sampled."""

    def named(self) -> AbstractContextManager[None]:
        """Let lines of the log name the run, its trace."""
        return run_context(self.tenant_id, self.run_id, self.trace.trace_id if self.trace else None)

    def canvases(self) -> Iterator[Any]:
        """Yield one canvas for each segment."""
        bind = bind_messages(self.plan, self.tenant_id, self.run_id, self.epochs, self.lots)
        return (canvas_of(segment, bind) for segment in self.segments)


def send_parcels(engine: Engine, parcels: Sequence[Parcel]) -> bool:
    """Send the segments of several runs in one go; tell whether all went, else all of them are unmarked."""
    if not parcels:
        return True
    try:
        with sending(parcels):
            engine.sender.send(canvas for parcel in parcels for canvas in parcel.canvases())
    except Unavailable:
        for parcel in parcels:
            with parcel.named():
                log.info("send_failed", extra={"steps": len(parcel.epochs)})
            hot.unmark_sent(engine.database, parcel.tenant_id, parcel.run_id, parcel.epochs)
        return False
    if log.isEnabledFor(logging.DEBUG):
        for parcel in parcels:
            with parcel.named():
                log.debug("steps_sent", extra={"steps": len(parcel.epochs), "messages": len(parcel.segments)})
    return True


@contextmanager
def sending(parcels: Sequence[Parcel]) -> Iterator[None]:
    """Record for each sampled run that its messages were handed to the broker, or were not."""
    sampled = [parcel for parcel in parcels if parcel.trace is not None and parcel.trace.sampled]
    if not sampled or not tracing.recording():
        yield
        return
    started, error = time.time_ns(), None
    try:
        yield
    except Unavailable:
        error = "broker_away"
        raise
    finally:
        for parcel in sampled:
            tracing.record(_sent(parcel, started, error))


def _sent(parcel: Parcel, started: int, error: str | None) -> tracing.FinishedSpan:
    run = parcel.trace
    if run is None:
        raise ValueError("the parcel has no trace")
    attributes: dict[str, tracing.Value] = {
        "messaging.operation.type": "send",
        "messaging.batch.message_count": len(parcel.segments),
        "quantum.steps": len(parcel.epochs),
        "quantum.tenant_id": str(parcel.tenant_id),
        "quantum.run_id": str(parcel.run_id),
    }
    return tracing.FinishedSpan(
        "send steps",
        "producer",
        run.at(tracing.new_span_id()),
        run.span_id,
        started,
        time.time_ns(),
        attributes,
        error=error,
    )
