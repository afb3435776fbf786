"""Needs with an outcome: what runs, is skipped, is cancelled does not depend on the order of endings."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from uuid import UUID

import pytest

from app.db import runs
from tests.support.spine import ACTOR, Graph, Spine

Outcomes = Mapping[str, Mapping[str, str]]
ENDED = ("succeeded", "failed", "skipped", "cancelled")
GOOD = ("succeeded", "skipped")


def retry(spine: Spine, run: UUID) -> None:
    with spine.app.tenant(spine.tenant) as connection:
        assert runs.retry_run(connection, spine.tenant, run, ACTOR, None)[0] == "ok"


def perform(spine: Spine, run: UUID, key: str, outcome: str = "succeeded") -> None:
    spine.send(run)
    spine.perform(run, key, outcome, error={"code": "x"} if outcome == "failed" else None)


def test_a_failure_runs_its_handler_and_what_always_runs_the_run_fails(spine: Spine) -> None:
    graph = {"work": [], "mend": ["work"], "more": ["work"], "clean": ["more"]}
    outcomes = {"mend": {"work": "failure"}, "clean": {"more": "always"}}
    run = spine.declare(spine.plan(graph, outcomes=outcomes))
    perform(spine, run, "work", "failed")
    assert spine.states(run) == {"work": "failed", "mend": "ready", "more": "cancelled", "clean": "ready"}
    assert spine.step(run, "more")["error"] == {"code": "upstream_failed", "step": "work"}
    perform(spine, run, "mend")
    perform(spine, run, "clean")
    assert spine.run(run)["state"] == "failed"
    retry(spine, run)
    again = {"work": "ready", "mend": "succeeded", "more": "pending", "clean": "succeeded"}
    assert spine.states(run) == again
    perform(spine, run, "work")
    perform(spine, run, "more")
    assert spine.run(run)["state"] == "succeeded"


def test_a_fan_that_ran_in_spite_of_a_failure_decides_anew_behind_it(spine: Spine) -> None:
    plan = spine.plan({"a": [], "f": ["a"], "z": ["f"]}, fans=["f"], outcomes={"f": {"a": "always"}})
    run = spine.declare(plan)
    perform(spine, run, "a", "failed")
    spine.expand(run, "f", [1, 2])
    perform(spine, run, "f.0")
    perform(spine, run, "f.1", "failed")
    assert spine.run(run)["state"] == "failed"
    retry(spine, run)
    again = {"a": "ready", "f": "pending", "f.0": "cancelled", "f.1": "cancelled", "z": "pending"}
    assert (spine.states(run), spine.run(run)["open_steps"]) == (again, 3)
    perform(spine, run, "a")
    spine.expand(run, "f", [1, 2])
    for key in ("f.0", "f.1", "z"):
        perform(spine, run, key)
    assert spine.run(run)["state"] == "succeeded"


def test_without_the_failure_its_handler_is_skipped_its_dependants_run(spine: Spine) -> None:
    graph = {"work": [], "mend": ["work"], "tell": ["mend"]}
    run = spine.declare(spine.plan(graph, outcomes={"mend": {"work": "failure"}}))
    perform(spine, run, "work")
    assert spine.states(run) == {"work": "succeeded", "mend": "skipped", "tell": "ready"}
    assert spine.step(run, "mend")["error"] == {"code": "condition_not_met", "step": "work"}


def test_an_accepted_failure_counts_as_both(spine: Spine) -> None:
    graph = {"work": [], "mend": ["work"], "more": ["work"]}
    plan = spine.plan(graph, lenient=["work"], outcomes={"mend": {"work": "failure"}})
    run = spine.declare(plan)
    perform(spine, run, "work", "failed")
    assert spine.states(run) == {"work": "failed", "mend": "ready", "more": "ready"}
    perform(spine, run, "mend")
    perform(spine, run, "more")
    assert spine.run(run)["state"] == "succeeded"


def test_the_verdict_waits_for_the_last_need(spine: Spine) -> None:
    graph = {"a": [], "b": [], "join": ["a", "b"], "after": ["join"]}
    run = spine.declare(spine.plan(graph, outcomes={"join": {"a": "failure"}}))
    perform(spine, run, "a")
    assert spine.states(run)["join"] == "pending", "its dependants may read b"
    assert spine.step(run, "join")["error"]["code"] == "condition_not_met", "but all can see what will be"
    perform(spine, run, "b", "failed")
    assert spine.states(run)["join"] == "cancelled"
    retry(spine, run)
    assert spine.step(run, "join")["error"]["code"] == "condition_not_met"
    perform(spine, run, "b")
    assert spine.states(run) == {"a": "succeeded", "b": "succeeded", "join": "skipped", "after": "ready"}


def test_a_handler_that_failed_too_waits_for_its_need_again(spine: Spine) -> None:
    graph = {"work": [], "mend": ["work"]}
    run = spine.declare(spine.plan(graph, outcomes={"mend": {"work": "failure"}}))
    perform(spine, run, "work", "failed")
    perform(spine, run, "mend", "failed")
    retry(spine, run)
    assert spine.states(run) == {"work": "ready", "mend": "pending"}
    perform(spine, run, "work")
    assert spine.states(run)["mend"] == "skipped"
    assert spine.run(run)["state"] == "succeeded"


def test_a_retry_from_a_step_that_ended_well_decides_anew_what_it_skipped(spine: Spine) -> None:
    graph = {"work": [], "mend": ["work"], "other": []}
    run = spine.declare(spine.plan(graph, outcomes={"mend": {"work": "failure"}}))
    perform(spine, run, "work")
    perform(spine, run, "other", "failed")
    assert spine.states(run)["mend"] == "skipped"
    with spine.app.tenant(spine.tenant) as connection:
        assert runs.retry_run(connection, spine.tenant, run, ACTOR, None, "work")[0] == "ok"
    assert (spine.states(run)["mend"], spine.step(run, "mend")["error"]) == ("pending", None)
    perform(spine, run, "work", "failed")
    assert spine.states(run)["mend"] == "ready"


def foretold(
    graph: Graph, outcomes: Outcomes, lenient: list[str], luck: Mapping[str, str], kept: Mapping[str, str]
) -> dict[str, str]:
    """Return how each step must end, by the rules as the documents have them."""
    ends: dict[str, str] = {}
    for step, needs in graph.items():
        wanted = {need: outcomes.get(step, {}).get(need, "success") for need in needs}
        blocked = any(
            (on != "always" and ends[need] == "cancelled")
            or (on == "success" and ends[need] == "failed" and need not in lenient)
            for need, on in wanted.items()
        )
        unmet = any(on == "failure" and ends[need] in GOOD for need, on in wanted.items())
        verdict = "cancelled" if blocked else "skipped" if unmet else luck[step]
        ends[step] = kept.get(step, verdict)
    return ends


def live(spine: Spine, run: UUID, graph: Graph, luck: Mapping[str, str], random: Random) -> None:
    """Drive the run to its end in a random order."""
    while spine.run(run)["state"] in ("queued", "running"):
        spine.send(run)
        states = spine.states(run)
        key = random.choice([name for name, state in states.items() if state in ("ready", "running")])
        if states[key] == "running":
            spine.finish(run, key, spine.step(run, key)["tries"], luck[key], error={"code": "x"})
        else:
            assert all(states[need] in ENDED for need in graph[key]), f"{key} is ready before its needs ended"
            spine.claim(run, key)
        found = spine.states(run).values()
        assert spine.run(run)["open_steps"] == sum(state not in ENDED for state in found)


@pytest.mark.parametrize("seed", range(16))
def test_random_graphs_end_as_foretold_also_after_a_retry(spine: Spine, seed: int) -> None:
    random = Random(seed)
    names = [f"s{n}" for n in range(random.randint(4, 10))]
    graph = {
        name: sorted(random.sample(names[:n], random.randint(0, min(n, 3)))) for n, name in enumerate(names)
    }
    outcomes: dict[str, dict[str, str]] = {}
    for name, needs in graph.items():
        picked = {need: random.choice(["success", "success", "failure", "always"]) for need in needs}
        special = {need: on for need, on in picked.items() if on != "success"}
        if special:
            outcomes[name] = special
    lenient = [name for name in names if random.random() < 0.2]
    run = spine.declare(spine.plan(graph, lenient=lenient, outcomes=outcomes))
    kept: dict[str, str] = {}
    for _ in range(4):
        luck = {name: random.choices(["succeeded", "failed", "skipped"], [5, 4, 1])[0] for name in names}
        live(spine, run, graph, luck, random)
        states = spine.states(run)
        assert states == foretold(graph, outcomes, lenient, luck, kept)
        bad = [name for name, state in states.items() if state == "failed" and name not in lenient]
        assert spine.run(run)["state"] == ("failed" if bad else "succeeded")
        if not bad:
            break
        kept = {
            name: state
            for name, state in states.items()
            if state in GOOD or (state == "failed" and name in lenient)
        }
        retry(spine, run)
