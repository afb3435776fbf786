"""A peer in a virtual environment of its own: its driver runs the works, tells the seconds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.settings import inherited_environment

HERE = Path(__file__).resolve().parent / "peers"
ROOT = HERE.parents[1]
PEERS = ("dramatiq", "dbos", "procrastinate")
READY = "ready"


def home(name: str) -> Path:
    """Return the folder of a peer's virtual environment."""
    return ROOT / ".quantum" / "peers" / name


def interpreter(name: str) -> Path:
    """Return the Python of a peer; it is not there before `make bench-peers`."""
    return home(name) / "bin" / "python"


class Foreign:
    """One peer: what it measures itself, in its own processes, with the works of `bench.works`."""

    def __init__(self, name: str, driver: subprocess.Popen[str]) -> None:
        self.name = name
        self._driver = driver

    def chains(self, runs: int) -> float:
        """Seconds from the first submission to the last end of `runs` chains of 5."""
        return self._ask("chains", runs)[0]

    def fanouts(self, runs: int) -> float:
        """Seconds for `runs` fan-outs of 1 + 50 + 1."""
        return self._ask("fanouts", runs)[0]

    def latencies(self, runs: int) -> list[float]:
        """Seconds of each of `runs` chains of 3, one after the other on an idle system."""
        return self._ask("latencies", runs)

    def submissions(self, runs: int) -> float:
        """Seconds that one client takes to submit `runs` chains of 5; then waits until they ended."""
        return self._ask("submissions", runs)[0]

    def wait_until_ready(self) -> None:
        """Return when its workers take work; raises RuntimeError when it does not start."""
        self._answer(READY)

    def _ask(self, what: str, runs: int) -> list[float]:
        if self._driver.stdin is None:
            raise RuntimeError(f"{self.name} cannot be asked")
        self._driver.stdin.write(json.dumps({"do": what, "runs": runs}) + "\n")
        self._driver.stdin.flush()
        return self._answer(what)

    def _answer(self, what: str) -> list[float]:
        line = self._driver.stdout.readline() if self._driver.stdout else ""
        if not line:
            raise RuntimeError(f"{self.name} ended during {what}; its log tells why")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}, {what}: {answer['error']}")
        return [float(value) for value in answer["seconds"]]


@contextmanager
def foreign(redis_url: str, postgres_url: str, log: Path) -> Iterator[tuple[Foreign, ...]]:
    """Start each peer that is installed, on the measured servers; tell of those that are not."""
    with ExitStack() as stack:
        found = []
        for name in PEERS:
            if not interpreter(name).exists():
                print(f"{name} is left out: `make bench-peers` installs it")
                continue
            try:
                found.append(stack.enter_context(_running(name, redis_url, postgres_url, log)))
            except RuntimeError as reason:
                print(f"{name} is left out: {reason}")
        yield tuple(found)


@contextmanager
def _running(name: str, redis_url: str, postgres_url: str, log: Path) -> Iterator[Foreign]:
    urls = {"BENCH_REDIS_URL": redis_url, "BENCH_POSTGRES_URL": postgres_url}
    with log.with_suffix(f".{name}.log").open("wb") as out:
        driver = subprocess.Popen(
            [str(interpreter(name)), str(HERE / f"{name}_peer.py"), "drive"],
            cwd=HERE,
            env={**inherited_environment(), **urls},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=out,
            text=True,
        )
        system = Foreign(name, driver)
        try:
            system.wait_until_ready()
            system.chains(20)
            system.fanouts(1)
            yield system
        finally:
            if driver.stdin:
                driver.stdin.close()  # the end of its input ends it with its workers
            try:
                driver.wait(timeout=20)
            except subprocess.TimeoutExpired:
                driver.kill()
