"""The spans of runs: of what starts them, of each attempt, of the events that tell of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final
from uuid import UUID

from app.db.hot import Claim
from app.domain.events import PREFIX, Event
from app.domain.leases import StepMessage
from app.domain.tracing import (
    TraceContext,
    attempt_span,
    begun_ms,
    delivery_span,
    parse_traceparent,
    run_span,
)
from app.observability import tracing

ENDS: Final = {PREFIX + "run." + state for state in ("succeeded", "failed", "cancelled")}
_NS_PER_MS: Final = 1_000_000
_NS_PER_US: Final = 1_000
_MICROS: Final = 1_000_000


def starter() -> Callable[[UUID], str]:
    """Return what tells the `traceparent` that a run's row keeps.

    It names the span that starts the run here, or the run's own where it begins the trace.
    """
    here = tracing.current()
    if here is None:
        return _begun
    known = here.traceparent()
    return lambda _run_id: known


def _begun(run_id: UUID) -> str:
    return tracing.begin()[0].at(run_span(run_id)).traceparent()


def trace_id_of(claim: Claim) -> str:
    """Return the trace id of the run that the claim's step belongs to, empty for one that has none."""
    return (claim.context["run"].get("trace") or "")[3:35]


@contextmanager
def attempted(message: StepMessage, claim: Claim, began_ns: int) -> Iterator[tracing.Span]:
    """Let the thread work for one attempt of a step, from its claim; `began_ns` is when that was asked for.

    A later attempt links to the one before, whether that was recorded here or in a process that died.
    """
    run = parse_traceparent(claim.context["run"].get("trace"))
    if run is None:
        yield tracing.NOTHING
        return
    context = run.at(attempt_span(message.run_id, message.key, claim.tries))
    if not context.sampled:
        with tracing.working_for(context):
            yield tracing.NOTHING
        return
    before = [run.at(attempt_span(message.run_id, message.key, claim.tries - 1))] if claim.tries > 1 else []
    attributes: dict[str, tracing.Value] = {
        "messaging.operation.type": "process",
        "quantum.tenant_id": str(message.tenant_id),
        "quantum.run_id": str(message.run_id),
        "quantum.step": message.key,
        "quantum.operation": claim.operation,
        "quantum.attempt": claim.attempt,
        "quantum.try": claim.tries,
        "quantum.dispatch_epoch": message.epoch,
    }
    with tracing.span_at(
        context,
        run.span_id,
        f"step {message.key}",
        "consumer",
        start_ns=began_ns,
        links=before,
        attributes=attributes,
    ) as span:
        yield span


@contextmanager
def delivering(event: Event, webhook_id: UUID) -> Iterator[tracing.Span]:
    """Work for one attempt to deliver an event to a webhook, which is told the span it is made for."""
    run = event.span()
    if run is None or not run.sampled:
        yield tracing.NOTHING
        return
    attributes: dict[str, tracing.Value] = {
        "quantum.tenant_id": str(event.tenant_id),
        "quantum.webhook_id": str(webhook_id),
        "cloudevents.event_id": str(event.id),
        "cloudevents.event_type": event.type,
    }
    context = run.at(tracing.new_span_id())
    with tracing.span_at(context, run.span_id, "POST webhook", "client", attributes=attributes) as span:
        yield span


def tell_published(sink: str, events: Iterable[Event]) -> None:
    """Record that events of sampled runs were delivered, and the run itself with the event of its end.

    A delivery that is repeated is recorded under the same id.
    """
    if not tracing.recording():
        return
    now = time.time_ns()
    for event in events:
        run = event.span()
        if run is None:
            continue
        tracing.record(_delivered(sink, event, run, now))
        # After an operator's retry it ends once more, but a span ends once.
        if event.type in ENDS and not event.members().get("round"):
            tracing.record(_ended(event, run))


def _delivered(sink: str, event: Event, run: TraceContext, now: int) -> tracing.FinishedSpan:
    return tracing.FinishedSpan(
        f"publish {event.type.removeprefix(PREFIX)}",
        "producer",
        run.at(delivery_span(event.id, sink)),
        run.span_id,
        _ns(event.time),
        now,
        {
            "messaging.operation.type": "send",
            "messaging.destination.name": sink,
            "cloudevents.event_id": str(event.id),
            "cloudevents.event_type": event.type,
            "cloudevents.event_subject": event.subject,
            "quantum.tenant_id": str(event.tenant_id),
        },
    )


def _ended(event: Event, run: TraceContext) -> tracing.FinishedSpan:
    """The run's own span, from the moment in its id to its last event."""
    run_id = UUID(event.subject.partition("/")[2])
    started = parse_traceparent(event.trace)
    state = event.type.rpartition(".")[2]
    attributes: dict[str, tracing.Value] = {
        "quantum.tenant_id": str(event.tenant_id),
        "quantum.run_id": str(run_id),
        "quantum.state": state,
    }
    return tracing.FinishedSpan(
        "run",
        "internal",
        run,
        None if started is None or started.span_id == run.span_id else started.span_id,
        begun_ms(run_id) * _NS_PER_MS,
        _ns(event.time),
        attributes,
        error=str(event.members().get("code") or "failed") if state == "failed" else None,
    )


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * _MICROS) * _NS_PER_US
