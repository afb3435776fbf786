"""Bare Celery as a system under measure."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis
from celery import chain, group

from app.settings import inherited_environment
from bench.figures import PEER
from bench.peer import QUEUE, URL_VARIABLE, noop, peer
from bench.serve import ROOT, served
from bench.wire import Target

WORK_WITHIN_S = 300.0


class BareCelery:
    """Runs the works as canvases; the end of one is seen by polling its result key, never by `get()`.

    `AsyncResult.get()` of Celery 5.7 once waited for ever with the result there; no figure rests on it.
    """

    name = PEER

    def __init__(self, url: str, api_url: str) -> None:
        peer.conf.update(broker_url=url, result_backend=url)
        self._server = redis.Redis.from_url(url)
        self._api_url = api_url

    def chains(self, runs: int) -> float:
        """Seconds from the first submission to the last end of `runs` chains of 5."""
        began = time.perf_counter()
        self._wait([_chain(5).apply_async().id for _ in range(runs)], pause_s=0.005)
        return time.perf_counter() - began

    def fanouts(self, runs: int) -> float:
        """Seconds for `runs` fan-outs of 1 + 50 + 1."""
        began = time.perf_counter()
        self._wait([_fanout(50).apply_async().id for _ in range(runs)], pause_s=0.005)
        return time.perf_counter() - began

    def latencies(self, runs: int) -> list[float]:
        """Seconds of each of `runs` chains of 3, one after the other on an idle system."""
        found = []
        for _ in range(runs):
            began = time.perf_counter()
            self._wait([_chain(3).apply_async().id], pause_s=0.0005)
            found.append(time.perf_counter() - began)
        return found

    def submissions(self, runs: int) -> float:
        """Seconds that one client takes to submit `runs` chains of 5; then waits until they ended."""
        began = time.perf_counter()
        sent = [_chain(5).apply_async().id for _ in range(runs)]
        took = time.perf_counter() - began
        self._wait(sent, pause_s=0.02)
        return took

    def reading(self) -> Target:
        """The request for the state of a chain that has ended."""
        sent = _chain(5).apply_async().id
        self._wait([sent], pause_s=0.005)
        return Target(self._api_url, "", "GET", f"/runs/{sent}", b"", 200, str)

    def submitting(self) -> Target:
        """The request that submits a chain of 5."""
        return Target(self._api_url, "", "POST", "/submit", b"{}", 202, str)

    def settle(self, _submitted: int) -> None:
        """Wait until the broker holds nothing of ours; nothing here could tell whether all of it ran."""
        deadline = time.perf_counter() + WORK_WITHIN_S
        while self._server.llen(QUEUE) or self._server.hlen("unacked"):
            if time.perf_counter() > deadline:
                raise TimeoutError("bare Celery: its queue does not end")
            time.sleep(0.05)

    def until(self, ids: Sequence[str]) -> None:
        """Wait until the results of these tasks are there."""
        self._wait(ids, pause_s=0.005)

    def _wait(self, ids: Sequence[str], pause_s: float) -> None:
        deadline = time.perf_counter() + WORK_WITHIN_S
        # One key at a time: a look at all of them would load the server that is measured.
        for done, task_id in enumerate(ids):
            while not self._server.exists(f"celery-task-meta-{task_id}"):
                if time.perf_counter() > deadline:
                    raise TimeoutError(f"bare Celery: only {done} of {len(ids)} results came")
                time.sleep(pause_s)


@contextmanager
def bare_celery(url: str, concurrency: int, api_command: str, log: Path) -> Iterator[BareCelery]:
    """A prefork worker of bare Celery on the Valkey database `url`, which is emptied first; an API before it.

    `api_command` is ours as the Procfile has it: the peer's application is served in the same way.
    """
    redis.Redis.from_url(url).flushdb()
    command = [sys.executable, "-m", "celery", "-A", "bench.peer", "worker", "--pool", "prefork"]
    command += ["--concurrency", str(concurrency), "--loglevel", "WARNING", "-n", "bench-peer@%h"]
    environment = {**inherited_environment(), URL_VARIABLE: url}
    with log.with_suffix(".peer.log").open("wb") as out:
        worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out)
        try:
            with served("bench.peer_api:app", api_command, environment, log) as api_url:
                system = BareCelery(url, api_url)
                _warm_up(system)
                yield system
        finally:
            worker.terminate()
            worker.wait(timeout=20)
    # Celery's results unsubscribe when they are collected: now, not while the interpreter goes down.
    for pending in peer.backend._pending_results:
        pending.clear()
    gc.collect()


def _warm_up(system: BareCelery) -> None:
    system.chains(20)
    system.fanouts(1)


def _chain(steps: int) -> chain:
    return chain(*(noop.si(n=n) for n in range(steps)))


def _fanout(width: int) -> chain:
    return chain(noop.si(), group(noop.si(n=n) for n in range(width)), noop.s())
