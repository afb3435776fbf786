"""Pools dedicated to one tenant: refused to the others wherever they name them, told to their owner."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.support.http_api import Caller, Platform, assert_problem
from tests.support.waiting import eventually


@pytest.fixture
def owner(platform: Platform) -> Caller:
    return platform.tenant()[1]


@pytest.fixture
def pool() -> str:
    return f"gpu-{uuid4().hex[:8]}"


def place(owner: Caller, pool: str) -> str:
    return f"/tenants/{owner.tenant_id}/pools/{pool}"


def step(pool: str, **more: Any) -> dict[str, Any]:
    return {"id": "a", "uses": "core.echo", "with": {"message": 1}, "queue": pool, **more}


def workflow(name: str, *steps: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"w.{name}", "version": 1, "steps": list(steps)}


def module(name: str, *steps: dict[str, Any]) -> dict[str, Any]:
    kind = {"name": f"w.{name}", "version": 1, "workflow_name": f"w.{name}", "workflow_version": 1}
    return {
        "name": name,
        "version": "1",
        "workflows": [workflow(name, *steps)],
        "intent_types": [{**kind, "spec_schema": {}}],
    }


def test_a_pool_is_given_taken_listed_and_audited(
    platform: Platform, owner: Caller, pool: str, stranger: Caller
) -> None:
    root = platform.root
    for _ in range(2):
        given = root.put(place(owner, pool), None)
        assert (given.status_code, given.get_json()["tenant_id"]) == (200, owner.tenant_id), given.text
    assert_problem(root.put(place(stranger, pool), None), 409, "pool-dedicated")
    assert_problem(root.put(place(owner, "default"), None), 422)
    assert_problem(root.put(f"/tenants/{uuid4()}/pools/{pool}x", None), 404)
    assert_problem(root.put(place(owner, "No-Pool"), None), 404)
    assert_problem(owner.put(place(owner, "mine"), None), 403)
    assert [one["pool"] for one in owner.get("/pools").get_json()["items"]] == [pool]
    assert stranger.get("/pools").get_json()["items"] == []
    assert pool in [one["pool"] for one in root.get("/pools", limit=200).get_json()["items"]]
    assert owner.get(f"/tenants/{owner.tenant_id}/limits").get_json()["pools"] == [pool]
    assert_problem(root.delete(place(stranger, pool)), 404)
    assert root.delete(place(owner, pool)).status_code == 204
    assert_problem(root.delete(place(owner, pool)), 404)
    actions = [each["action"] for each in owner.get("/audit").get_json()["items"]]
    assert (actions.count("pool.dedicate"), actions.count("pool.release")) == (1, 1)


def test_others_are_refused_where_they_register(
    platform: Platform, owner: Caller, pool: str, stranger: Caller
) -> None:
    child = workflow(f"child_{uuid4().hex[:8]}", step(pool))
    assert stranger.post("/workflows", child).status_code == 201
    platform.root.put(place(owner, pool), None)
    undo = {"id": "c", "uses": "core.echo", "with": {"message": 1}}
    steps = (
        step(pool),
        {"id": "b", "workflow": f"{child['name']}@1", "with": {}},
        {**undo, "compensate": step(pool)},
    )
    del steps[2]["compensate"]["id"]
    refused = workflow("mixed", *steps)
    problem = assert_problem(stranger.post("/workflows", refused), 422)
    assert [(each["pointer"], each["code"]) for each in problem["errors"]] == [
        ("/steps/0/queue", "pool_dedicated"),
        ("/steps/1/workflow", "pool_dedicated"),
        ("/steps/2/compensate/queue", "pool_dedicated"),
    ]
    assert str(owner.tenant_id) not in str(problem)
    problem = assert_problem(stranger.post("/modules", module("mod", step(pool))), 422)
    assert problem["errors"][0]["pointer"] == "/workflows/0/steps/0/queue"
    assert owner.post("/workflows", workflow("own", step(pool))).status_code == 201


def test_others_are_refused_where_they_submit(
    platform: Platform, owner: Caller, pool: str, stranger: Caller
) -> None:
    name = f"m{uuid4().hex[:8]}"
    for caller in (owner, stranger):
        assert caller.post("/modules", module(name, step(pool))).status_code == 201
    before = stranger.post("/intents", {"type": f"w.{name}", "spec": {}}).get_json()["run"]["id"]
    stranger.post(f"/runs/{before}:cancel")
    timing = {"name": name, "type": f"w.{name}", "spec": {}, "timing": {"every_s": 3600}}
    platform.root.put(place(owner, pool), None)
    problem = assert_problem(stranger.post("/intents", {"type": f"w.{name}", "spec": {}}), 422)
    assert (problem["errors"][0]["pointer"], problem["errors"][0]["code"]) == ("/type", "pool_dedicated")
    both = {"items": [{"type": f"w.{name}", "spec": {}}, {"type": "core.echo", "spec": {"message": 1}}]}
    outcomes = stranger.post("/intents:batch", both).get_json()["items"]
    assert [outcome["status"] for outcome in outcomes] == [422, 202]
    assert_problem(stranger.post(f"/runs/{before}:rerun"), 422)
    assert_problem(stranger.post("/schedules", timing), 422)
    assert owner.post("/schedules", timing).status_code == 201
    run = owner.post("/intents", {"type": f"w.{name}", "spec": {}}).get_json()["run"]["id"]
    eventually(
        lambda: owner.get(f"/runs/{run}/explain").get_json()["steps"][0]["code"] == "no_worker", within=10
    )
    assert owner.get(f"/runs/{run}/explain").get_json()["dedicated"] is True
    platform.root.delete(place(owner, pool))
    assert stranger.post("/intents", {"type": f"w.{name}", "spec": {}}).status_code == 202
