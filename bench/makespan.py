"""`python -m bench.makespan FOLDER`: recorded workflows beside a scheduler without overhead."""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
from celery import chain, group

from app.client.http import ApiClient
from bench.bare import BareCelery, bare_celery
from bench.figures import load_now
from bench.peer import noop, wait
from bench.serve import api_command
from bench.stage import Stage, raised
from workflows.wfformat import read_wfformat

SLOTS = 8
SECONDS = 20.0
TARGET = 1.10
MOST_S = 600.0
HEAD = (
    f"{'workflow':<38}{'steps':>6}{'bound':>8}{'ideal':>8}"
    f"{'ours':>8}{'/ ideal':>9}{'groups':>8}{'/ ideal':>9}"
)


@dataclass(frozen=True, slots=True)
class Work:
    """A recorded graph: seconds of each step, what each needs."""

    name: str
    seconds: Mapping[str, float]
    needs: Mapping[str, Sequence[str]]

    def bound(self, slots: int) -> float:
        """No schedule on so many slots is shorter: the longest path, or all work evenly spread."""
        ends: dict[str, float] = {}
        for step in self.seconds:  # a step comes after its needs
            ends[step] = self.seconds[step] + max((ends[need] for need in self.needs[step]), default=0.0)
        return max(*ends.values(), sum(self.seconds.values()) / slots)

    def ideal(self, slots: int) -> float:
        """Seconds without any overhead under the platform's rule: who was ready first begins first."""
        open_needs = {step: len(needs) for step, needs in self.needs.items()}
        order = {step: at for at, step in enumerate(self.seconds)}
        after: dict[str, list[str]] = {step: [] for step in self.seconds}
        for step, needs in self.needs.items():
            for need in needs:
                after[need].append(step)
        ready = [(0.0, order[step], step) for step, count in open_needs.items() if not count]
        heapq.heapify(ready)
        running: list[tuple[float, str]] = []
        now = 0.0
        while ready or running:
            while ready and len(running) < slots:
                _, _, step = heapq.heappop(ready)
                heapq.heappush(running, (now + self.seconds[step], step))
            now, ended = heapq.heappop(running)
            for step in after[ended]:
                open_needs[step] -= 1
                if not open_needs[step]:
                    heapq.heappush(ready, (now, order[step], step))
        return now

    def levels(self) -> list[list[str]]:
        """The steps by depth, as a chain of groups would run them: each level waits for the one before."""
        depth: dict[str, int] = {}
        for step in self.seconds:
            depth[step] = 1 + max((depth[need] for need in self.needs[step]), default=-1)
        return [[step for step in depth if depth[step] == level] for level in range(max(depth.values()) + 1)]


def recorded(path: Path, seconds: float) -> tuple[Work, dict[str, Any]]:
    """Return the graph, and the workflow that waits, both scaled so that the ideal lasts `seconds`."""
    document = json.loads(path.read_text())
    name = "makespan." + path.stem.lower().replace("-", "_")
    once = work_of(read_wfformat(document, name=name, scale=1.0, cap_s=1e9))
    scaled = read_wfformat(document, name=name, scale=seconds / once.ideal(SLOTS))
    return work_of(scaled), scaled


def work_of(workflow: Mapping[str, Any]) -> Work:
    """Return the graph of a workflow of waiting steps, needs first."""
    steps = {step["id"]: step for step in workflow["steps"]}
    placed: dict[str, None] = {}

    def place(step: str) -> None:
        pending = [step]
        while pending:
            missing = [need for need in steps[pending[-1]].get("needs", ()) if need not in placed]
            if missing:
                pending += missing
            else:
                placed.setdefault(pending.pop())

    for step in steps:
        place(step)
    return Work(
        str(workflow["name"]),
        {step: float(steps[step]["with"]["seconds"]) for step in placed},
        {step: list(steps[step].get("needs", ())) for step in placed},
    )


class Ours:
    """The platform: the makespan is what the run's row says."""

    def __init__(self, stage: Stage) -> None:
        self._client: ApiClient = stage.client
        self._database = psycopg2.connect(stage.settings.database_system_url)
        self._database.autocommit = True

    def run(self, workflow: Mapping[str, Any]) -> float:
        """Seconds from the acceptance of the intent to the end of its run."""
        name = str(workflow["name"])
        kind = {"name": name, "version": 1, "mode": "job", "spec_schema": {"type": "object"}}
        kind |= {"description": "", "workflow_name": name, "workflow_version": 1}
        module = {"name": name.replace(".", "_")[:60], "version": "1", "workflows": [workflow]}
        self._client.post("/modules", {**module, "intent_types": [kind]})
        run = UUID(self._client.post("/intents", {"type": name, "spec": {}})["run"]["id"])
        deadline = time.monotonic() + MOST_S
        while time.monotonic() < deadline:
            with self._database.cursor() as cursor:
                cursor.execute(
                    "SELECT state, extract(epoch FROM finished_at - created_at)::float FROM runs"
                    " WHERE id = %s",
                    (run,),
                )
                state, seconds = cursor.fetchone() or ("gone", None)
            if state == "succeeded":
                return float(seconds)
            if state not in ("queued", "running"):
                raise RuntimeError(f"{name} ended {state}")
            time.sleep(0.1)
        raise TimeoutError(f"{name} did not end within {MOST_S:g} s")


def groups(peer: BareCelery, work: Work) -> float:
    """Seconds of the same graph as plain Celery: a chain of groups, a barrier after each level."""
    canvas = chain(
        *(group(wait.si(work.seconds[step]) for step in level) for level in work.levels()), noop.si()
    )
    began = time.perf_counter()
    peer.until([canvas.apply_async().id])
    return time.perf_counter() - began


@contextmanager
def systems() -> Iterator[tuple[Ours, BareCelery]]:
    """Both systems, each with a worker of eight processes; only one works at a time."""
    os.environ["WORKER_CONCURRENCY"] = str(SLOTS)
    with raised() as stage, bare_celery(stage.peer_url, SLOTS, api_command(), stage.log) as peer:
        yield Ours(stage), peer


def main() -> int:
    """Measure; return 1 when a makespan is above its target."""
    parser = argparse.ArgumentParser(prog="python -m bench.makespan", description=__doc__)
    parser.add_argument("folder", type=Path, help="recorded workflows, WfFormat 1.5")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="what each run is scaled to")
    asked = parser.parse_args()
    late = 0
    with systems() as (ours, peer):
        print(f"{SLOTS} slots, {os.cpu_count()} cores, load {load_now()}\n{HEAD}", flush=True)
        for path in sorted(asked.folder.glob("*.json")):
            work, workflow = recorded(path, asked.seconds)
            ideal, took, plain = work.ideal(SLOTS), ours.run(workflow), groups(peer, work)
            late += took > TARGET * ideal
            print(
                f"{path.stem:<38}{len(work.seconds):>6}{work.bound(SLOTS):>8.2f}{ideal:>8.2f}{took:>8.2f}"
                f"{took / ideal:>9.2f}{plain:>8.2f}{plain / ideal:>9.2f}",
                flush=True,
            )
    print(f"target {TARGET:g} x ideal: {'all met' if not late else f'{late} missed'}; load {load_now()}")
    return 1 if late else 0


if __name__ == "__main__":
    sys.exit(main())
