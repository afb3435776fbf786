"""The spans of this process: built only where a trace is sampled, exported behind the work's back."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Literal, Protocol, Self

import structlog

from app.domain.tracing import TraceContext, is_sampled, parse_traceparent

Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool

HEADER = "traceparent"


@dataclass(frozen=True, slots=True)
class FinishedSpan:
    """A span that has ended; times in nanoseconds since 1970, `error` the code of its failure."""

    name: str
    kind: Kind
    context: TraceContext
    parent: str | None
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    links: Sequence[TraceContext] = ()
    error: str | None = None


class Exporting(Protocol):
    """Takes finished spans, and never makes their maker wait."""

    def take(self, span: FinishedSpan) -> None:
        """Keep the span until it is sent."""

    def entered(self, context: TraceContext) -> Callable[[], None]:
        """Let instruments of other libraries go on below the span; return what ends that."""

    def flush(self) -> None:
        """Send what is kept, for no longer than a few seconds."""


@dataclass(slots=True)
class _Process:
    make: Callable[[], Exporting] | None = None
    ratio: float = 0.0
    made: Exporting | None = None


_PROCESS = _Process()
_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def configure_tracing(make: Callable[[], Exporting] | None, ratio: float) -> None:
    """Record `ratio` (0 to 1) of the traces that begin here; None for `make` records nothing at all.

    What `make` returns is made with the first span, so that a pool forks before its threads begin.
    """
    _PROCESS.make, _PROCESS.ratio, _PROCESS.made = make, ratio, None


def flush_traces() -> None:
    """Send what this process has kept; for its end."""
    if _PROCESS.made is not None:
        _PROCESS.made.flush()


def _exporting() -> Exporting | None:
    if _PROCESS.made is None and _PROCESS.make is not None:
        _PROCESS.made = _PROCESS.make()
    return _PROCESS.made


def _forked() -> None:
    _PROCESS.made = None


os.register_at_fork(after_in_child=_forked)


def new_span_id() -> str:
    """Return a span id: it must differ, not be secret, so the system's generator is not called."""
    return f"{random.getrandbits(64) or 1:016x}"


def begin(traceparent: str | None = None, *, recorded: bool = True) -> tuple[TraceContext, str | None]:
    """Return the context of a span that begins here with the id of the caller's span, None without one.

    A caller's decision to sample is followed; without a caller the ratio decides. `recorded` False keeps
    out what nobody wants to see.
    """
    given = parse_traceparent(traceparent)
    if given is not None:
        return given.at(new_span_id()), given.span_id
    trace_id = f"{random.getrandbits(128) or 1:032x}"
    sampled = recorded and _PROCESS.make is not None and is_sampled(trace_id, _PROCESS.ratio)
    return TraceContext(trace_id, new_span_id(), sampled), None


def current() -> TraceContext | None:
    """Return the span that this thread works for."""
    return _current.get()


def set_current(context: TraceContext | None) -> None:
    """Let this thread work for a span, and name its trace in log lines, until it is told otherwise."""
    _current.set(context)
    if context is not None:
        structlog.contextvars.bind_contextvars(trace_id=context.trace_id)


@contextmanager
def working_for(context: TraceContext | None) -> Iterator[None]:
    """Let this thread work for a span within the block."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


class Span(Protocol):
    """A span that is being worked at."""

    def set(self, **attributes: Value) -> None:
        """Note attributes; each `__` of a name becomes a dot."""

    def fail(self, code: str) -> None:
        """Note that it failed; a code, never a message, which may hold what customers wrote."""


class _Nothing:
    """The span of a trace that nobody records."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""

    def set(self, **attributes: Value) -> None:
        """Note nothing."""

    def fail(self, code: str) -> None:
        """Note nothing."""


NOTHING = _Nothing()


@dataclass(slots=True)
class _Live:
    name: str
    kind: Kind
    context: TraceContext
    parent: str | None
    attributes: dict[str, Value]
    links: Sequence[TraceContext] = ()
    start_ns: int = 0
    error: str | None = None
    _token: Token[TraceContext | None] | None = field(default=None, init=False)
    _leave: Callable[[], None] | None = field(default=None, init=False)

    def set(self, **attributes: Value) -> None:
        for name, value in attributes.items():
            self.attributes[name.replace("__", ".")] = value

    def fail(self, code: str) -> None:
        self.error = code

    def __enter__(self) -> Self:
        self.start_ns = self.start_ns or time.time_ns()
        self._token = _current.set(self.context)
        exporting = _exporting()
        self._leave = exporting.entered(self.context) if exporting is not None else None
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._leave is not None:
            self._leave()
        if self._token is not None:
            _current.reset(self._token)
        if kind is not None and self.error is None:
            self.error = kind.__name__
        _take(
            FinishedSpan(
                self.name,
                self.kind,
                self.context,
                self.parent,
                self.start_ns,
                time.time_ns(),
                self.attributes,
                self.links,
                self.error,
            )
        )


def span(name: str, kind: Kind = "internal", **attributes: Value) -> AbstractContextManager[Span]:
    """Return a span below the present one, for a `with` block; one that does nothing where none is recorded.

    Each `__` of an attribute's name becomes a dot: `db__operation` is `db.operation`.
    """
    here = _current.get()
    if here is None or not here.sampled or _PROCESS.make is None:
        return NOTHING
    named = {key.replace("__", "."): value for key, value in attributes.items()}
    return _Live(name, kind, here.at(new_span_id()), here.span_id, named)


def span_at(
    context: TraceContext,
    parent: str | None,
    name: str,
    kind: Kind,
    *,
    start_ns: int = 0,
    links: Sequence[TraceContext] = (),
    attributes: Mapping[str, Value],
) -> AbstractContextManager[Span]:
    """Return the span that `context` names, below `parent`; the caller has seen that it is sampled."""
    if _PROCESS.make is None:
        return NOTHING
    return _Live(name, kind, context, parent, dict(attributes), links, start_ns)


def record(span: FinishedSpan) -> None:
    """Record a span that somebody else has timed; one that is not sampled is dropped."""
    if span.context.sampled:
        _take(span)


def recording() -> bool:
    """Tell whether spans of this process go anywhere."""
    return _PROCESS.make is not None


def outgoing() -> dict[str, str]:
    """Return the header that tells the other side of a call which span it is made for."""
    here = _current.get()
    return {} if here is None else {HEADER: here.traceparent()}


def _take(span: FinishedSpan) -> None:
    exporting = _exporting()
    if exporting is not None:
        exporting.take(span)
