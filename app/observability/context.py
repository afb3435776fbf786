"""The identifiers that every log line of one request or one step carries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from structlog.contextvars import bound_contextvars, get_contextvars

from app.observability.tracing import current


@contextmanager
def request_context(request_id: str, *, tenant_id: UUID | None = None) -> Iterator[None]:
    """Bind the request's identifiers to the log lines of the block."""
    fields = {"request_id": request_id}
    if tenant_id is not None:
        fields["tenant_id"] = str(tenant_id)
    with bound_contextvars(**fields):
        yield


@contextmanager
def step_context(tenant_id: UUID, run_id: UUID, step: str) -> Iterator[None]:
    """Bind the step's identifiers to the log lines of the block."""
    here = current()
    trace = {} if here is None else {"trace_id": here.trace_id}
    with bound_contextvars(tenant_id=str(tenant_id), run_id=str(run_id), step=step, **trace):
        yield


def bound_names() -> frozenset[str]:
    """Return the names of what log lines carry here besides their own fields."""
    return frozenset(get_contextvars())


def request_id() -> str | None:
    """Return the id of the request being served, or None outside of one."""
    bound = get_contextvars().get("request_id")
    return str(bound) if bound is not None else None
