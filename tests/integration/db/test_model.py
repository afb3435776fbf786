"""Random lives of random graphs: whatever happens in whichever order, the rows stay consistent."""

from __future__ import annotations

from random import Random
from typing import Any
from uuid import UUID

import pytest

from app.db import recovery, runs
from tests.support.spine import ACTOR, Graph, Spine

OPEN = ("pending", "ready", "running", "waiting")
ACTIONS = 400
CANCELS = 0.01
STEERS = 0.06


def random_graph(random: Random) -> tuple[Graph, list[str], list[str]]:
    """Return a graph of 3 to 9 steps, its fans, its lenient steps."""
    names = [f"s{n}" for n in range(random.randint(3, 9))]
    graph = {
        name: sorted(random.sample(names[:n], random.randint(0, min(n, 3)))) for n, name in enumerate(names)
    }
    return (
        graph,
        [name for name in names if random.random() < 0.3],
        [n for n in names if random.random() < 0.2],
    )


def assert_consistent(spine: Spine, run: UUID, graph: Graph) -> None:
    """Check the counters of the run against its rows, each step against the steps it needs."""
    row = spine.run(run)
    found = spine.admin.call("SELECT key, to_jsonb(s) FROM run_steps s WHERE run_id = %s", (run,))
    steps: dict[str, dict[str, Any]] = dict(found)
    assert row["open_steps"] == sum(step["state"] in OPEN for step in steps.values())
    failed = [s for s in steps.values() if s["state"] == "failed" and not s["continue_on_failure"]]
    assert row["failed_steps"] == len(failed)
    assert (row["open_steps"] == 0) == (row["state"] in ("succeeded", "failed", "cancelled")), row["state"]
    if row["state"] == "failed":
        assert failed
    if row["state"] == "paused":
        assert not [
            key
            for key, step in steps.items()
            if step["state"] == "running" or (step["sent_at"] and step["state"] in OPEN)
        ]
    for key, step in steps.items():
        items = [s for s in steps.values() if s["base"] == key and s["item"] is not None]
        good = {
            need
            for need in graph.get(key, ())
            if steps[need]["state"] in ("succeeded", "skipped")
            or (steps[need]["state"] == "failed" and steps[need]["continue_on_failure"])
        }
        if step["state"] == "pending" and step["item"] is not None:
            assert step["needs_left"] == 1, f"{key} waits for a place"
        elif step["state"] == "pending":
            assert step["needs_left"] == len(graph[key]) - len(good) > 0, key
        elif step["state"] == "waiting" and items:
            assert step["needs_left"] == sum(s["state"] in OPEN for s in items) > 0, key
            under_way = sum(s["state"] in ("ready", "running", "waiting") for s in items)
            assert not step["input"] or under_way == min(step["input"]["max_parallel"], step["needs_left"])
        elif step["state"] not in ("cancelled", "skipped") and step["item"] is None:
            assert len(good) == len(graph[key]), f"{key} is {step['state']} before its needs ended"


def steer(spine: Spine, run: UUID, random: Random, keys: list[str]) -> None:
    """Do what an operator might: pause, resume, or skip some step; what is illegal changes nothing."""
    with spine.app.tenant(spine.tenant) as connection:
        choice = random.choice(["pause", "resume", "resume", "skip"])
        if choice == "pause":
            runs.pause_run(connection, spine.tenant, run, ACTOR, None, None)
        elif choice == "resume":
            runs.resume_run(connection, spine.tenant, run, ACTOR, None)
        else:
            runs.skip_step(connection, spine.tenant, run, random.choice(keys), ACTOR, None, "random")


def act(spine: Spine, run: UUID, random: Random) -> None:
    """Do one thing that may happen to a run."""
    states = spine.states(run)
    ready = [key for key, state in states.items() if state == "ready"]
    running = [key for key, state in states.items() if state == "running"]
    if random.random() < STEERS or spine.run(run)["state"] == "paused":
        steer(spine, run, random, list(states))
    elif random.random() < CANCELS:
        with spine.app.tenant(spine.tenant) as connection:
            runs.cancel_run(connection, spine.tenant, run, ACTOR, None, None)
    elif running and random.random() < 0.5:
        key = random.choice(running)
        outcome = random.choices(
            ["succeeded", "skipped", "failed", "retry", "killed", "cancelled"], [12, 2, 2, 2, 2, 1]
        )[0]
        spine.finish(run, key, spine.step(run, key)["tries"], outcome, error={"code": "x"}, retry_in_s=0)
    elif ready:
        key = random.choice(ready)
        step = spine.step(run, key)
        if step["is_fan"]:
            spine.expand(run, key, list(range(random.randint(0, 4))))
        elif step["sent_at"] is None:
            spine.send(run)
        else:
            spine.claim(run, key)
    else:
        recovery.due_waits(spine.system, 100)


@pytest.mark.parametrize("seed", range(8))
def test_random_life_of_a_run(spine: Spine, seed: int) -> None:
    random = Random(seed)
    graph, fans, lenient = random_graph(random)
    parallel = {fan: random.randint(1, 3) for fan in fans if random.random() < 0.5}
    run = spine.declare(spine.plan(graph, fans=fans, lenient=lenient, parallel=parallel))
    for _ in range(ACTIONS):
        act(spine, run, random)
        assert_consistent(spine, run, graph)
        state = spine.run(run)["state"]
        if state == "failed" and random.random() < 0.9:
            with spine.app.tenant(spine.tenant) as connection:
                step = random.choice([None, *spine.states(run)])
                verdict = runs.retry_run(connection, spine.tenant, run, ACTOR, None, step)[0]
                assert verdict == "ok" or (step is not None and verdict in ("held_back", "no_step"))
            assert_consistent(spine, run, graph)
        elif state in ("succeeded", "failed", "cancelled"):
            break
    events = spine.admin.call("SELECT seq FROM events WHERE subject = %s ORDER BY seq", (f"runs/{run}",))
    assert [row[0] for row in events] == list(range(1, spine.run(run)["event_seq"] + 1)), (
        "no gap in the events"
    )
