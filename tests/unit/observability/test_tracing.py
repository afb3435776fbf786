"""The spans of a process: built where a trace is recorded, nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from app.domain.tracing import TraceContext
from app.observability import tracing
from app.observability.tracing import FinishedSpan

HERE = TraceContext("a" * 32, "b" * 16, True)


@dataclass
class Kept:
    """Keeps spans; counts how often it was made."""

    spans: list[FinishedSpan] = field(default_factory=list)
    made: int = 0

    def make(self) -> Kept:
        self.made += 1
        return self

    def take(self, span: FinishedSpan) -> None:
        self.spans.append(span)

    def entered(self, _: TraceContext) -> Callable[[], None]:
        return lambda: None

    def flush(self) -> None:
        """Nothing waits."""


@pytest.fixture
def kept() -> Iterator[Kept]:
    keeper = Kept()
    tracing.configure_tracing(keeper.make, 1.0)
    yield keeper
    tracing.configure_tracing(None, 0.0)
    tracing.set_current(None)


def work() -> None:
    with tracing.span("inner"):
        pass


def test_spans_nest_below_the_present_one(kept: Kept) -> None:
    with tracing.working_for(HERE), tracing.span("outer", "client", db__system__name="postgresql"):
        work()
    inner, outer = kept.spans
    assert (outer.parent, inner.parent) == (HERE.span_id, outer.context.span_id)
    assert {one.context.trace_id for one in kept.spans} == {HERE.trace_id}
    assert outer.attributes == {"db.system.name": "postgresql"}
    assert outer.end_ns >= inner.end_ns >= inner.start_ns >= outer.start_ns


def test_an_unsampled_trace_builds_no_span_and_no_exporter(kept: Kept) -> None:
    here = TraceContext(HERE.trace_id, HERE.span_id, False)
    with tracing.working_for(here), tracing.span("outer") as span:
        span.set(a=1)
        span.fail("x")
        assert span is tracing.NOTHING
        assert tracing.outgoing() == {"traceparent": here.traceparent()}
    tracing.record(FinishedSpan("x", "internal", here, None, 1, 2, {}))
    assert (kept.spans, kept.made) == ([], 0)


def test_a_fault_is_told_by_its_kind_never_by_its_words(kept: Kept) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.working_for(HERE), tracing.span("outer"):
        raise ValueError("a secret")
    (span,) = kept.spans
    assert span.error == "ValueError"
    assert "secret" not in repr(span)


def test_a_trace_begins_by_the_ratio_and_follows_its_caller(kept: Kept) -> None:
    assert tracing.begin()[0].sampled
    assert not tracing.begin(recorded=False)[0].sampled
    followed, parent = tracing.begin(HERE.traceparent(), recorded=False)
    assert (followed.trace_id, parent, followed.sampled) == (HERE.trace_id, HERE.span_id, True)
    assert followed.span_id != HERE.span_id
    tracing.configure_tracing(kept.make, 0.0)
    assert not tracing.begin()[0].sampled
    tracing.configure_tracing(None, 1.0)
    assert not tracing.begin()[0].sampled
