"""Chapters that look from outside: the events of a run, its tasks in Flower."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import redis
import requests

from app.client.http import ApiClient
from app.client.watching import watch
from app.runtime.demo.chapters import RUN_WITHIN_S, submit
from app.runtime.demo.claims import Report
from app.runtime.demo.stage import Stage

WITHIN_S = 15.0
FLOWER_SHOWS_WITHIN_S = 2.0
FLOWER_WORK = "bench.chain3"
LOOK_EVERY_S = 0.2
STORY = (
    "run.started",
    "step.retrying",
    "step.failed",
    "run.failed",
    "run.retried",
    "run.succeeded",
)
STREAM = "quantum:events:"

T = TypeVar("T")


def eventually(look: Callable[[], T], within_s: float = WITHIN_S) -> T:
    """Look again and again until something true is seen; return the last look after `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not (seen := look()) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
    return seen


def hear_events(stage: Stage, report: Report, client: ApiClient, run_id: str) -> None:
    """The repaired run's story, from the API's feed, then from the Redis stream that the relay fills."""
    subject = f"runs/{run_id}"

    def feed() -> list[dict[str, Any]]:
        events = list(client.items("/events", subject=subject))
        return events if any(event["type"].endswith("run.succeeded") for event in events) else []

    events = eventually(feed)
    types = [event["type"].removeprefix("io.quantum.") for event in events]
    report.say(" → ".join(types))
    report.claim("the feed tells the story of the repaired run in order", contains(types, STORY))
    numbers = [int(event["sequence"]) for event in events]
    report.claim("its events are numbered without a gap", numbers == list(range(1, len(numbers) + 1)))
    stream = STREAM + client.get("/me")["tenant_id"]
    wanted = [event["id"] for event in events]

    def relayed() -> list[str]:
        server = redis.Redis.from_url(stage.settings.redis_url, decode_responses=True)
        entries = cast(list[tuple[str, dict[str, str]]], server.xrange(stream))
        ids = [fields["id"] for _, fields in entries if json.loads(fields["event"]).get("subject") == subject]
        return ids if len(ids) >= len(wanted) else []

    report.claim(
        f"the Redis stream {stream} has the same events in the same order",
        wanted and list(dict.fromkeys(eventually(relayed))) == wanted,
    )


def watch_flower(stage: Stage, report: Report, client: ApiClient) -> None:
    """Flower shows each step of a run as a task; its id leads back to run and step.

    Flower sees what happens from when it listens; for a run that came too early another is made.
    """
    steps: dict[str, str] = {}

    def shown() -> dict[str, str]:
        run_id = submit(client, FLOWER_WORK, {})
        *_, run = watch(client, run_id, RUN_WITHIN_S)
        steps.update({step["key"]: step["operation"] for step in run.steps})
        return eventually(lambda: _tasks_of(stage, run_id, len(steps)), FLOWER_SHOWS_WITHIN_S)

    found = eventually(shown)
    report.claim(
        f"Flower shows the steps {', '.join(sorted(steps))} of a run as tasks", set(found) == set(steps)
    )
    report.claim("their names are the operations, their ids lead back to run and step", found == steps)


def _tasks_of(stage: Stage, run_id: str, count: int) -> dict[str, str]:
    """Step and operation of each task that Flower shows for the run; empty until there are so many.

    A task's name comes with its first event, which another process sends than its last: it may come later.
    """
    try:
        answer = requests.get(f"{stage.flower_url}/api/tasks", auth=stage.flower_login, timeout=5)
        tasks = answer.json() if answer.ok else {}
    except requests.RequestException:
        # Flower may still be starting: looked at again until the time is over.
        tasks = {}
    found = {
        task_id.split(":")[1]: task["name"]
        for task_id, task in tasks.items()
        if task_id.startswith(f"{run_id}:") and task["name"]
    }
    return found if len(found) >= count else {}


def contains(types: list[str], story: tuple[str, ...]) -> bool:
    """True when the story's types stand in `types` in this order, others between them."""
    left = iter(types)
    return all(told in left for told in story)
