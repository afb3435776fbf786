"""Trace contexts: what is read, what is ignored, what follows from ids."""

from __future__ import annotations

import random
from uuid import uuid4

import pytest

from app.db.ids import new_id
from app.domain.tracing import (
    TraceContext,
    attempt_span,
    begun_ms,
    is_sampled,
    parse_traceparent,
    run_span,
    trace_of,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def test_a_traceparent_comes_back_as_it_was_written() -> None:
    for flags, sampled in (("00", False), ("01", True)):
        text = f"00-{TRACE}-{SPAN}-{flags}"
        found = parse_traceparent(text)
        assert found == TraceContext(TRACE, SPAN, sampled)
        assert found.traceparent() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_the_w3c_tells_to_ignore_is_ignored(text: str) -> None:
    assert parse_traceparent(text) is None


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-03-later") == TraceContext(TRACE, SPAN, True)


@pytest.mark.parametrize("ratio", [0.0, 0.01, 0.5, 1.0])
def test_the_ratio_is_met_by_random_ids(ratio: float) -> None:
    ids = random.Random(7)
    taken = sum(is_sampled(f"{ids.getrandbits(128):032x}", ratio) for _ in range(20_000))
    assert taken / 20_000 == pytest.approx(ratio, abs=0.02 if 0 < ratio < 1 else 0)


def test_a_run_tells_its_span_and_its_beginning() -> None:
    run = new_id()
    assert len(run_span(run)) == 16
    assert abs(begun_ms(run) - begun_ms(new_id())) < 60_000
    found = trace_of(f"00-{TRACE}-{SPAN}-01", run)
    assert found == TraceContext(TRACE, run_span(run), True)
    assert trace_of(None, run) is None


def test_each_try_has_a_span_of_its_own() -> None:
    run = uuid4()
    spans = {attempt_span(run, key, tries) for key in ("a", "b") for tries in (1, 2, 3)}
    assert len(spans) == 6
    assert attempt_span(run, "a", 1) == attempt_span(run, "a", 1)
