"""Circuit breakers of a process: they open, let one ask, close, forget nobody's counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app.artifacts.guarded import GuardedStore
from app.domain.artifacts import ArtifactMissing
from app.domain.breakers import BreakerRules
from app.domain.errors import Unavailable
from app.domain.relay import Memory, Shard
from app.messaging.broker_epoch import BrokerLink
from app.observability.breakers import Guard, Guards
from app.observability.exporting import RULES as RULES_OF_SPANS
from app.observability.exporting import _Bounded
from app.observability.metrics import REGISTRY
from app.services.relay import Relay, RelayRules

TENANT = UUID(int=1)
RULES = BreakerRules(failures=3, first_s=10.0, most_s=40.0, probe_s=60.0)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> Guard:
    guard = Guard("test", RULES, clock, lambda: 0.0)
    assert [guard.failed() for _ in range(3)] == [False, False, True]
    return guard


def open_now(dependency: str = "test") -> float:
    return REGISTRY.get_sample_value("quantum_breakers_open", {"dependency": dependency}) or 0.0


def test_it_opens_after_failures_in_a_row_only() -> None:
    guard = Guard("test", RULES, Clock(), lambda: 0.0)
    for _ in range(5):
        assert not guard.failed()
        assert not guard.failed()
        assert not guard.succeeded(), "it was not open"
    assert guard.allows()


def test_while_it_is_open_one_asks_after_each_hold() -> None:
    clock = Clock()
    guard = opened(clock)
    assert (guard.allows(), guard.left_s) == (False, 10.0)
    clock.now = 10.0
    allowed: list[bool] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        allowed.append(guard.allows())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(allowed) == [False] * 7 + [True]
    assert not guard.failed(), "it was open already"
    assert guard.left_s == 20.0, "longer each time"
    clock.now = 30.0
    assert guard.allows()
    assert guard.succeeded()
    assert all(guard.allows() for _ in range(3))
    assert guard.left_s == 0.0


def test_who_asked_and_never_told_is_replaced() -> None:
    clock = Clock()
    guard = opened(clock)
    clock.now = 10.0
    assert guard.allows()
    clock.now = 69.0
    assert not guard.allows()
    clock.now = 70.0
    assert guard.allows()


def test_what_began_before_it_opened_does_not_hold_it_longer() -> None:
    guard = opened(Clock())
    guard.failed()
    assert guard.left_s == 10.0


def test_the_metric_counts_those_that_are_open() -> None:
    before, clock = open_now(), Clock()
    first, second = opened(clock), opened(clock)
    assert open_now() == before + 2
    first.succeeded()
    second.succeeded()
    second.succeeded()
    assert open_now() == before


def test_places_have_guards_of_their_own_and_the_oldest_is_forgotten() -> None:
    before = open_now("places")
    guards = Guards("places", RULES, most=2)
    for _ in range(3):
        guards.of("a").failed()
    assert not guards.of("a").allows()
    assert guards.of("b").allows()
    assert open_now("places") == before + 1
    guards.of("c")
    assert guards.of("a").allows(), "it was forgotten, with what was known of it"
    assert open_now("places") == before


class Store:
    """A store that is away, or answers."""

    def __init__(self) -> None:
        self.fault: Exception | None = Unavailable("artifact store")
        self.asked = 0
        self.breaks_off = False

    def _answer(self) -> None:
        self.asked += 1
        if self.fault is not None:
            raise self.fault

    def put(self, _tenant: UUID, _sha256: str, _content: bytes) -> None:
        self._answer()

    def read(self, _tenant: UUID, _sha256: str) -> Iterator[bytes]:
        self._answer()
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        yield b"one"
        if self.breaks_off:
            raise Unavailable("artifact store")
        yield b"two"

    def delete(self, _tenant: UUID, _sha256: str) -> None:
        self._answer()

    def sweep(self, _older_s: float) -> int:
        self._answer()
        return 0


def test_a_store_that_is_away_is_not_asked_until_the_hold_is_over() -> None:
    store, clock = Store(), Clock()
    guarded = GuardedStore(store, Guard("artifacts", RULES, clock, lambda: 0.0))
    for _ in range(6):
        with pytest.raises(Unavailable, match="artifact store"):
            guarded.put(TENANT, "a", b"")
    assert store.asked == 3
    clock.now, store.fault = 10.0, None
    guarded.put(TENANT, "a", b"")
    assert b"".join(guarded.read(TENANT, "a")) == b"onetwo"


def test_an_answer_of_the_store_is_no_failure_and_a_broken_read_is_one() -> None:
    store = Store()
    guarded = GuardedStore(store, Guard("artifacts", RULES, Clock(), lambda: 0.0))
    store.fault = ArtifactMissing("gone")
    for _ in range(5):
        with pytest.raises(ArtifactMissing):
            guarded.read(TENANT, "a")
    store.fault, store.breaks_off = None, True
    guarded.guard.failed()
    guarded.guard.failed()
    with pytest.raises(Unavailable):
        b"".join(guarded.read(TENANT, "a"))
    assert guarded.guard.allows(), "to be found at all counts as an answer before it breaks off"


def test_a_destination_of_spans_that_is_away_is_left_alone() -> None:
    asked: list[int] = []

    class Away(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            asked.append(len(spans))
            return SpanExportResult.FAILURE

    exporter = _Bounded("away", Away())
    results = [exporter.export([]) for _ in range(RULES_OF_SPANS.failures + 5)]
    assert results == [SpanExportResult.FAILURE] * len(results)
    assert len(asked) == RULES_OF_SPANS.failures


def test_a_broker_that_comes_back_is_counted() -> None:
    answers: list[str | None] = ["life-1", None, None, "life-2", "life-2"]

    def read() -> str:
        answer = answers.pop(0)
        if answer is None:
            raise OSError("away")
        return answer

    def reconnects() -> float:
        return REGISTRY.get_sample_value("quantum_broker_reconnects_total", {"side": "sender"}) or 0.0

    link, before = BrokerLink(read, Clock()), reconnects()
    assert [link.refresh() for _ in range(5)] == ["life-1", None, None, "life-2", "life-2"]
    assert reconnects() == before + 1


def test_a_sink_that_is_away_is_told_and_loses_nothing() -> None:
    class Outbox:
        moves = 0

        def number(self, _limit: int) -> int:
            return 0

        def claim(self, *_: object) -> None: ...

        def held(self, *_: object) -> tuple[Shard, ...]:
            return (Shard(0, 0, ""),)

        def release(self, *_: object) -> None: ...

        def advance(self, *_: object) -> None:
            self.moves += 1

    class Sink:
        name = "away"

        @property
        def memory(self) -> Sink:
            return self

        def look(self) -> Memory:
            raise Unavailable("away")

        def close(self) -> None: ...

    outbox: Any = Outbox()
    sink: Any = Sink()
    before = open_now("sink_away")
    relay = Relay(outbox, sink, "me", RelayRules(), Clock(), lambda: datetime.now(UTC))
    waits = iter([False] * 5 + [True])
    relay.run(lambda _: next(waits))
    assert open_now("sink_away") == before + 1
    assert outbox.moves == 0
