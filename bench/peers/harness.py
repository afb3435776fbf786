"""What each peer's driver does: works asked for by lines of JSON, seconds for an answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

PROCESSES = 2
WORK_WITHIN_S = 300.0
REDIS_URL = os.environ.get("BENCH_REDIS_URL", "")
POSTGRES_URL = os.environ.get("BENCH_POSTGRES_URL", "")


class Client(Protocol):
    """How a run is submitted, how its end is seen."""

    def chain(self, steps: int) -> str: ...
    def fanout(self, width: int) -> str: ...
    def ended(self, run: str) -> bool: ...


def main(prepare: Callable[[], Client], work: Callable[[], None]) -> None:
    """Work in a worker's process, else drive: the first argument tells."""
    if sys.argv[1:] == ["work"]:
        work()
    else:
        drive(prepare)


def drive(prepare: Callable[[], Client]) -> None:
    """Start the workers, do what the lines of the input ask, end with it."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not answer
    client = prepare()
    command = [sys.executable, str(Path(sys.argv[0]).resolve()), "work"]
    workers = [subprocess.Popen(command) for _ in range(PROCESSES)]
    try:
        wait(client, [client.chain(1)], 0.01)
        tell(answers, seconds=[0.0])
        for line in sys.stdin:
            asked = json.loads(line)
            try:
                tell(answers, seconds=WORKS[asked["do"]](client, asked["runs"]))
            except Exception as fault:
                tell(answers, error=repr(fault))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()
        os._exit(0)  # whatever threads a client library keeps


def tell(answers: Any, **answer: Any) -> None:
    """Write one answer."""
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def wait(client: Client, runs: Sequence[str], pause_s: float) -> None:
    """Return when all runs have ended; raises TimeoutError."""
    deadline = time.perf_counter() + WORK_WITHIN_S
    for run in runs:
        while not client.ended(run):
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{run} does not end")
            time.sleep(pause_s)


def chains(client: Client, runs: int) -> list[float]:
    began = time.perf_counter()
    wait(client, [client.chain(5) for _ in range(runs)], 0.005)
    return [time.perf_counter() - began]


def fanouts(client: Client, runs: int) -> list[float]:
    began = time.perf_counter()
    wait(client, [client.fanout(50) for _ in range(runs)], 0.005)
    return [time.perf_counter() - began]


def latencies(client: Client, runs: int) -> list[float]:
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        wait(client, [client.chain(3)], 0.0005)
        found.append(time.perf_counter() - began)
    return found


def submissions(client: Client, runs: int) -> list[float]:
    began = time.perf_counter()
    sent = [client.chain(5) for _ in range(runs)]
    took = time.perf_counter() - began
    wait(client, sent, 0.02)
    return [took]


WORKS = {"chains": chains, "fanouts": fanouts, "latencies": latencies, "submissions": submissions}
