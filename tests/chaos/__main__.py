"""`python -m tests.chaos`, which is `make chaos`: harm of every kind at random moments, then the table."""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from math import inf
from pathlib import Path
from random import Random

import psycopg2

from app.runtime.failure import RuntimeFailure
from tests.chaos.checker import examine, poisoned_runs
from tests.chaos.faults import FAULTS, Fault, named
from tests.chaos.finding import Finding
from tests.chaos.fleet import launched
from tests.chaos.load import Load
from tests.chaos.rabbit_faults import RABBIT_FAULTS
from tests.chaos.report import HEAD, Injection, lines
from tests.chaos.scene import Held, Scene
from tests.services.rabbitmq import rabbitmq_node
from tests.support.processes import session_guard
from tests.support.servers import private_servers
from tests.support.waiting import eventually

LEAST_STEPS = 50
ENOUGH_STEPS = 80
ENOUGH_RUNS = 90
READY_WITHIN_S = 90.0
GONE_WITHIN_S = 90.0
END_WITHIN_S = 180.0
LOOK_S = 0.05
FULL = (10.0, 30.0, 4.0, 1.0)
"""Seconds: PostgreSQL away, Valkey away, other outages, the longest pause before an injection."""
SHORT = (3.0, 3.0, 2.0, 0.3)
OPEN = "SELECT count(*) AS n FROM runs WHERE state::text NOT IN ('succeeded', 'failed', 'cancelled')"


class Show:
    """One chaos run: work goes through while the faults strike in random order."""

    def __init__(self, scene: Scene, seed: int, pauses_s: float) -> None:
        self.scene = scene
        self.pauses_s = pauses_s
        self.hungry = False
        self.load = Load(scene.fleet, seed, lambda: self.hungry)
        scene.asking = lambda: self.load.asking
        self.injections: list[Injection] = []
        self._stop = threading.Event()

    def play(self, faults: Sequence[Fault], rounds: int, within_s: float) -> list[Finding]:
        """Strike each fault `rounds` times; return what the checker finds after the last run has ended.

        No round begins when `within_s` seconds are over; Ctrl-C ends it at once: what was done is judged.
        """
        watch = threading.Thread(target=self._watch, daemon=True)
        watch.start()
        self.load.start()
        broken = self._strike_all(faults, rounds, within_s)
        self._stop.set()
        self.load.stop()
        with suppress(AssertionError):  # what has not ended is told by the checker
            eventually(lambda: self.scene.count(OPEN) == 0, within=END_WITHIN_S, every=0.2)
        unsent = "SELECT count(*) AS n FROM events e JOIN relay_cursors c ON c.shard = e.shard"
        unsent += " WHERE e.position IS NULL OR e.position > c.position"
        with suppress(AssertionError):
            eventually(lambda: self.scene.count(unsent) == 0, within=60, every=0.2)
        refused = [Finding("lost", f"refused: {text}") for text in self.load.refused]
        return broken + refused + examine(self.scene, self.load.accepted)

    def _strike_all(self, faults: Sequence[Fault], rounds: int, within_s: float) -> list[Finding]:
        until = time.monotonic() + within_s
        try:
            for _ in range(rounds):
                if time.monotonic() > until:
                    break
                for fault in self.scene.random.sample(list(faults), len(faults)):
                    self._strike(fault)
        except KeyboardInterrupt:
            print("  interrupted", flush=True)
        except (AssertionError, RuntimeFailure) as stuck:  # work stands still, a server does not come back
            return [Finding("stuck", str(stuck))]
        return []

    def _watch(self) -> None:
        """Ask for more work while there is little."""
        while not self._stop.wait(LOOK_S * 2):
            try:
                steps, runs = len(self.scene.in_flight()), self.scene.count(OPEN)
            except psycopg2.OperationalError:
                continue  # the database is away just now
            self.hungry = steps < ENOUGH_STEPS and runs < ENOUGH_RUNS

    def _strike(self, fault: Fault) -> None:
        threading.Event().wait(self.scene.random.uniform(0, self.pauses_s))
        held, chords = eventually(self._full, within=READY_WITHIN_S, what="enough steps are in flight")
        at = self.scene.now()
        gone = fault.strike(self.scene, held)
        over = time.monotonic()
        recovery: float | None = None
        with suppress(AssertionError):  # told in the table
            eventually(lambda: self._asked(gone), within=GONE_WITHIN_S, every=LOOK_S)
            recovery = time.monotonic() - over
        runs = len({step.run for step in held})
        self.injections.append(Injection(fault, at, len(held), chords, runs, recovery))
        told = "did not recover" if recovery is None else f"recovered after {recovery:.1f} s"
        print(f"  {fault.name}: {len(held)} steps, {chords} chords in flight; {told}", flush=True)

    def _full(self) -> tuple[list[Held], int] | None:
        with suppress(psycopg2.OperationalError):  # PostgreSQL recovers from the fault before
            held, chords = self.scene.in_flight(), self.scene.open_chords()
            if len(held) >= LEAST_STEPS and chords and any(step.state == "running" for step in held):
                return held, chords
        return None

    def _asked(self, gone: object) -> bool:
        with suppress(psycopg2.OperationalError):
            return bool(gone())  # type: ignore[operator]  # a look of a fault
        return False

    def tell(self, findings: Sequence[Finding]) -> bool:
        """Print the table and what was found; tell whether all is well."""
        rows = self.scene.rows("SELECT id, coalesce(finished_at, clock_timestamp()) AS at FROM runs")
        table = lines(self.injections, findings, {row["id"]: row["at"] for row in rows})
        print(f"\n{HEAD}")
        for line in table:
            print(line)
        states = Counter(row["state"] for row in self.scene.rows("SELECT state::text FROM runs"))
        killed = self.scene.count("SELECT count(*) AS n FROM step_attempts WHERE state::text = 'killed'")
        events = self.scene.count("SELECT count(*) AS n FROM events")
        steps = self.scene.count("SELECT count(*) AS n FROM run_steps")
        print(
            f"\n{len(self.load.accepted)} intents accepted ({self.load.repeated} requests repeated),"
            f" {steps} steps, {killed} attempts killed, {len(poisoned_runs(self.scene))} runs poisoned"
            f" by chance, {events} events, {self.scene.fleet.restarts} restarts of processes;"
            f" runs: {dict(states)}"
        )
        kinds = Counter(finding.kind for finding in findings)
        names = ("stuck", "lost", "duplicated", "early", "leaked", "limits", "events", "audit")
        print("checker: " + ", ".join(f"{name} {kinds[name]}" for name in names))
        for finding in findings[:40]:
            print(f"  {finding.kind}: {finding.text}")
        return not findings and not any(line.bad() for line in table)


def main() -> int:
    """Play; return 1 when anything that must be zero is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--seed", type=int, default=None, help="makes the choices of an earlier run again")
    parser.add_argument("--rounds", type=int, default=None, help="how often each fault strikes")
    parser.add_argument("--minutes", type=float, default=None, help="begin no round after so long")
    parser.add_argument("--faults", nargs="*", default=[], metavar="WORD", help="only those named so")
    parser.add_argument("--broker", choices=("redis", "rabbitmq"), default="redis")
    parser.add_argument("--short", action="store_true", help="each fault once, shorter outages")
    parser.add_argument("--keep", action="store_true", help="keep ledger and logs")
    asked = parser.parse_args()
    seed = secrets.randbelow(10**6) if asked.seed is None else asked.seed
    rounds = asked.rounds or (1 if asked.short else 20)
    faults = named(asked.faults, FAULTS if asked.broker == "redis" else (*FAULTS, *RABBIT_FAULTS))
    print(
        f"chaos: seed {seed}, {rounds} x {len(faults)} faults{' (short form)' if asked.short else ''}",
        flush=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="quantum-chaos-"))
    well = False
    try:
        with ExitStack() as stack:
            servers = stack.enter_context(private_servers())
            rabbit = stack.enter_context(rabbitmq_node()) if asked.broker == "rabbitmq" else None
            fleet = stack.enter_context(launched(servers, folder, rabbit.url if rabbit else None))
            away, valkey_away, brief, pauses = SHORT if asked.short else FULL
            show = Show(Scene(fleet, Random(seed), away, valkey_away, brief, rabbit), seed, pauses)
            began = time.monotonic()
            well = show.tell(show.play(faults, rounds, (asked.minutes or inf) * 60))
            print(
                f"{'all is well' if well else 'NOT WELL'} after {time.monotonic() - began:.0f} s, seed {seed}"
            )
    finally:
        session_guard().close()
        if well and not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"ledger, logs: {folder}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
