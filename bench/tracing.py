"""What traces cost the ways that every request, every step takes."""

from __future__ import annotations

import time
from collections.abc import Callable

from app.domain.tracing import TraceContext
from app.observability import tracing
from app.observability.exporting import ExportRules, exporting_of

ROUNDS = 20_000
SAMPLED = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)
UNSAMPLED = TraceContext(SAMPLED.trace_id, SAMPLED.span_id, False)
NOWHERE = ExportRules("bench", "0", "test", "http://127.0.0.1:9")


def each_us(call: Callable[[], object]) -> float:
    """Return the microseconds of one call, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(ROUNDS // 5):
            call()
        best = min(best, (time.perf_counter() - began) / (ROUNDS // 5))
    return best * 1e6


def one_span() -> None:
    """Work inside one span."""
    with tracing.span("step", "consumer", quantum__step="a", quantum__attempt=1):
        pass


def main() -> None:
    """Print a table."""
    tracing.configure_tracing(exporting_of(NOWHERE), 0.01)
    rows = [("begin a request without a caller", each_us(tracing.begin))]
    rows.append(("begin a request with a caller", each_us(lambda: tracing.begin(UNSAMPLED.traceparent()))))
    with tracing.working_for(UNSAMPLED):
        rows.append(("a span of an unsampled trace", each_us(one_span)))
    with tracing.working_for(SAMPLED):
        rows.append(("a span of a sampled trace, with its queueing", each_us(one_span)))
    for name, cost in rows:
        print(f"{name:<48}{cost:8.2f} us")


if __name__ == "__main__":
    main()
