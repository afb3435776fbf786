"""The works that both sides do by turns, each with the figures it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from bench.figures import Measure, load_now, percentile
from bench.ours import NotVerified
from bench.wire import Target, load

API_CONNECTIONS = 4


class Runs(Protocol):
    """What every system can do; times in seconds."""

    name: str

    def chains(self, runs: int) -> float: ...
    def fanouts(self, runs: int) -> float: ...
    def latencies(self, runs: int) -> list[float]: ...
    def submissions(self, runs: int) -> float: ...


class System(Runs, Protocol):
    """What those with an HTTP API can do beside."""

    def reading(self) -> Target: ...
    def submitting(self) -> Target: ...
    def settle(self, submitted: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each work a round does."""

    chains: int = 200
    fanouts: int = 20
    latencies: int = 50
    submissions: int = 500
    api_s: float = 5.0


QUICK = Sizes(chains=60, fanouts=6, latencies=20, submissions=150, api_s=2.0)
Work = Callable[..., Iterator[Measure]]
RUN_WORKS = ("W1", "W2", "W3", "W4")
"""The works that every system does."""


def _w1(system: Runs, sizes: Sizes) -> Iterator[Measure]:
    began = load_now()
    rate = sizes.chains / system.chains(sizes.chains)
    yield Measure("W1", system.name, rate, "runs/s", "higher", began)
    yield Measure("W1", system.name, rate * 5, "steps/s", "higher", began)


def _w2(system: Runs, sizes: Sizes) -> Iterator[Measure]:
    began = load_now()
    rate = sizes.fanouts / system.fanouts(sizes.fanouts)
    yield Measure("W2", system.name, rate, "runs/s", "higher", began)
    yield Measure("W2", system.name, rate * 52, "steps/s", "higher", began)


def _w3(system: Runs, sizes: Sizes) -> Iterator[Measure]:
    began = load_now()
    taken = system.latencies(sizes.latencies)
    for what, share in (("p50", 0.5), ("p95", 0.95)):
        yield Measure("W3", system.name, percentile(taken, share) * 1000, "ms", "lower", began, what)


def _w4(system: Runs, sizes: Sizes) -> Iterator[Measure]:
    began = load_now()
    rate = sizes.submissions / system.submissions(sizes.submissions)
    yield Measure("W4", system.name, rate, "/s", "higher", began)


def _read(system: System, sizes: Sizes) -> Iterator[Measure]:
    yield from _api("read a run", system, system.reading(), sizes, submits=False)


def _submit(system: System, sizes: Sizes) -> Iterator[Measure]:
    yield from _api("submit", system, system.submitting(), sizes, submits=True)


def _api(what: str, system: System, target: Target, sizes: Sizes, submits: bool) -> Iterator[Measure]:
    began = load_now()
    seen = load(target, sizes.api_s, API_CONNECTIONS)
    system.settle(seen.answered if submits else 0)
    yield Measure("API", system.name, seen.per_second, "req/s", "higher", began, what)
    yield Measure("API", system.name, seen.p95_ms, "ms", "lower", began, f"{what}, p95")


WORKS: dict[str, Work] = {
    "W1": _w1,
    "W2": _w2,
    "W3": _w3,
    "W4": _w4,
    "read": _read,
    "submit": _submit,
}


def measured(work: Callable[[], Iterator[Measure]], refused: list[str]) -> list[Measure]:
    """Return what the work gives, nothing when its rows were not verified: then `refused` gets the reason."""
    try:
        return list(work())
    except (NotVerified, RuntimeError, TimeoutError) as reason:
        refused.append(str(reason))
        return []
