"""The identifiers that log lines carry of what is worked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID

from structlog.contextvars import bound_contextvars, get_contextvars

from app.domain.events import Event

_RUNS = "runs/"


@contextmanager
def log_context(**known: object) -> Iterator[None]:
    """Bind what is known to the log lines that this thread writes within the block; None is left out."""
    with bound_contextvars(**{name: str(value) for name, value in known.items() if value is not None}):
        yield


def run_context(tenant_id: UUID, run_id: UUID, trace_id: str | None = None) -> AbstractContextManager[None]:
    """Bind the identifiers of a run; `trace_id` where the thread works for no span of it."""
    return log_context(tenant_id=tenant_id, run_id=run_id, trace_id=trace_id or None)


def step_context(tenant_id: UUID, run_id: UUID, step: str) -> AbstractContextManager[None]:
    """Bind the identifiers of a step; the trace follows from the span that the thread works for."""
    return log_context(tenant_id=tenant_id, run_id=run_id, step=step)


def event_context(event: Event, **more: object) -> AbstractContextManager[None]:
    """Bind the identifiers of an event with those of the run that it tells of."""
    run = event.subject.removeprefix(_RUNS) if event.subject.startswith(_RUNS) else None
    span = event.span()
    return log_context(
        tenant_id=event.tenant_id,
        run_id=run,
        trace_id=span.trace_id if span is not None else None,
        event_id=event.id,
        **more,
    )


def bound_request_id() -> str | None:
    """Return the id of what this thread was asked to do, None where nobody asked."""
    bound = get_contextvars().get("request_id")
    return None if bound is None else str(bound)


def bound_names() -> frozenset[str]:
    """Return the names of what log lines carry here besides their own fields."""
    return frozenset(get_contextvars())
