"""Limits of tenants over HTTP; why a run waits, for each cause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest

from app.db import hot, workers
from app.db.admission import admit
from app.db.ids import new_id
from app.domain.leases import Child, Lease, StepMessage
from app.services.advance import advance
from app.settings import Settings
from tests.support.http_api import Caller, Platform, assert_problem
from tests.support.waiting import eventually

LEASE = Lease(UUID(int=1), Child(100, 1), "worker-1")
BROKER = "broker-1"


class Flow:
    """A tenant of its own with a workflow on a queue of its own."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.slug, self.admin = platform.tenant()
        self.queue = f"q{uuid4().hex[:8]}"
        self.path = f"/tenants/{self.admin.tenant_id}/limits"
        self.work = {"id": "a", "uses": "core.echo", "with": {"message": 1}, "queue": self.queue}
        self.register("work", [self.work, {**self.work, "id": "b", "needs": ["a"]}])

    def register(self, name: str, steps: list[dict[str, Any]], **more: Any) -> None:
        kind = {"name": f"w.{name}", "version": 1, "workflow_name": f"w.{name}", "workflow_version": 1}
        flow = {"name": f"w.{name}", "version": 1, "steps": steps, **more}
        module = {"name": name, "version": "1", "workflows": [flow]}
        made = self.admin.post("/modules", {**module, "intent_types": [{**kind, "spec_schema": {}}]})
        assert made.status_code == 201, made.text

    def limit(self, **limits: Any) -> None:
        answer = self.platform.root.put(self.path, limits, If_Match="*")
        assert answer.status_code == 200, answer.text

    def submit(self, name: str = "work", spec: Any = None) -> str:
        answer = self.admin.post("/intents", {"type": f"w.{name}", "spec": spec or {}})
        assert answer.status_code == 202, answer.text
        run: str = answer.get_json()["run"]["id"]
        return run

    def wait(self, name: str = "work") -> str:
        """Return a run that found no room in its pool."""
        self.platform.parts.submit.admission._room[self.queue] = 0
        return self.submit(name)

    def explain(self, run: str) -> Any:
        answer = self.admin.get(f"/runs/{run}/explain")
        assert answer.status_code == 200, answer.text
        return answer.get_json()

    def reason(self, run: str) -> Any:
        return self.explain(run)["reasons"][0]

    def step(self, run: str, key: str) -> Any:
        return next(step for step in self.explain(run)["steps"] if step["key"] == key)

    def listen(self) -> None:
        """Let a worker of two processes listen on the queue."""
        workers.beat(
            self.platform.parts.platform, new_id(), "w", 1, "1", [self.queue], [Child(1, 1), Child(2, 2)]
        )


@pytest.fixture
def flow(platform: Platform) -> Flow:
    return Flow(platform)


@pytest.fixture
def nobody_admits(platform: Platform, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hold the lock of the admitter: what found no room goes on waiting. The room is what the test says."""
    monkeypatch.setattr(platform.parts.submit.admission, "read_loads", lambda: None)
    with closing(psycopg2.connect(settings.database_system_url)) as session, session.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('quantum.admit'))")
        yield


def test_limits_are_set_by_the_platform_and_read_by_the_tenant(flow: Flow, stranger: Caller) -> None:
    root = flow.platform.root
    first = flow.admin.get(flow.path)
    usual = {"weight": 1, "max_running_runs": None, "max_running_steps": None}
    shown = first.get_json()
    assert shown.pop("caps")["workflows"] == {"most": 5000, "usual": 5000, "in_use": 1}
    assert shown == {**usual, "version": 0, "updated_at": None, "pools": []}
    assert_problem(root.put(flow.path, {"weight": 3}), 428)
    set_once = root.put(flow.path, {"weight": 3, "max_running_runs": 2}, If_Match=first.headers["ETag"])
    assert set_once.status_code == 200, set_once.text
    assert_problem(root.put(flow.path, {"weight": 9}, If_Match=first.headers["ETag"]), 412)
    shown = flow.admin.get(flow.path)
    assert (shown.get_json()["weight"], shown.get_json()["max_running_runs"]) == (3, 2)
    assert shown.headers["ETag"].startswith(set_once.headers["ETag"][:-1]), "the same version"
    assert_problem(flow.admin.put(flow.path, {}, If_Match="*"), 403)
    assert_problem(stranger.get(flow.path), 404)
    assert_problem(root.get(f"/tenants/{uuid4()}/limits"), 404)
    assert_problem(root.put(flow.path, {"weight": 0}, If_Match="*"), 422)
    assert_problem(root.put(flow.path, {"max_running_runs": -1}, If_Match="*"), 422)
    records = flow.admin.get("/audit", action="tenant.limits").get_json()["items"]
    assert [record["detail"] for record in records] == [
        {**usual, "weight": 3, "max_running_runs": 2, "caps": {}}
    ]


def test_a_run_beyond_the_limit_waits_and_its_holders_are_told(flow: Flow, stranger: Caller) -> None:
    flow.limit(max_running_runs=2)
    held = [flow.submit(), flow.submit()]
    third, fourth = flow.submit(), flow.submit()
    assert flow.admin.get(f"/runs/{third}").get_json()["admitted_at"] is None
    answer = flow.explain(fourth)
    assert (answer["waiting"], answer["place"]["in_tenant"]) == (True, 1)
    (reason,) = answer["reasons"]
    assert (reason["code"], reason["limit"]["name"]) == ("tenant_limit", "max_running_runs")
    assert (reason["limit"]["value"], reason["limit"]["in_use"]) == (2, 2)
    assert sorted(reason["limit"]["holders"]) == sorted(held)
    assert flow.step(fourth, "a")["code"] == "admission"
    assert flow.step(fourth, "b")["detail"] == {"needs": ["a"]}
    assert_problem(stranger.get(f"/runs/{fourth}/explain"), 404)


def test_a_step_beyond_the_limit_waits_and_is_told_why(flow: Flow, stranger: Caller) -> None:
    flow.limit(max_running_steps=1)
    assert_problem(flow.platform.root.put(flow.path, {"max_running_steps": -1}, If_Match="*"), 422)
    first, second = flow.submit(), flow.submit()
    eventually(lambda: flow.step(first, "a")["code"] == "no_worker", within=10, what="the first step is sent")
    answer = flow.explain(second)
    (reason,) = answer["reasons"]
    assert (answer["waiting"], reason["code"]) == (False, "step_limit")
    assert reason["limit"] == {"name": "max_running_steps", "value": 1, "in_use": 1, "holders": [first]}
    assert flow.step(second, "a")["code"] == "step_limit"
    assert flow.step(second, "a")["detail"] == {"name": "max_running_steps", "value": 1, "in_use": 1}
    assert_problem(stranger.get(f"/runs/{second}/explain"), 404)
    flow.admin.post(f"/runs/{first}:cancel")
    eventually(
        lambda: flow.step(second, "a")["code"] == "no_worker", within=10, what="the place is handed on"
    )


def test_a_raised_limit_admits_and_an_estimate_follows(flow: Flow) -> None:
    flow.limit(max_running_runs=1)
    runs = [flow.submit() for _ in range(4)]
    assert flow.explain(runs[3])["estimate_s"] is None
    flow.limit(max_running_runs=2)
    admit(flow.platform.parts.platform, 10, 10, 4, BROKER)
    assert flow.explain(runs[1])["waiting"] is False
    answer = flow.explain(runs[3])
    assert answer["place"]["in_tenant"] == 1
    assert answer["estimate_s"] > 0


@pytest.mark.usefixtures("nobody_admits")
def test_a_full_pool_and_one_without_workers(flow: Flow) -> None:
    run = flow.wait()
    assert flow.reason(run)["code"] == "turn"
    flow.register("wide", [{**flow.work, "id": f"s{number}"} for number in range(40)])
    flow.platform.parts.submit.admission._room[flow.queue] = 1
    wide = flow.submit("wide")
    eventually(lambda: flow.step(wide, "s39")["code"] == "no_worker", within=10, what="the steps are sent")
    assert flow.reason(run)["code"] == "no_worker"
    flow.listen()
    reason = flow.reason(run)
    assert (reason["code"], reason["limit"]["value"], reason["limit"]["in_use"]) == ("pool_full", 32, 40)


@pytest.mark.usefixtures("nobody_admits")
def test_the_fair_order_counts_neighbours_and_shows_none(flow: Flow) -> None:
    run = flow.wait()
    neighbour = Flow(flow.platform)
    neighbour.register("beside", [flow.work])
    neighbour.queue = flow.queue
    for _ in range(5):
        neighbour.wait("beside")
    mine = [flow.wait() for _ in range(2)]
    first, last = flow.explain(run), flow.explain(mine[1])
    assert first["place"] == {"in_tenant": 0, "in_pool": 0}
    assert last["place"]["in_tenant"] == 2
    # Each of its own costs two steps, each of the neighbour's one.
    assert last["place"]["in_pool"] == 2 + 4
    assert neighbour.admin.get(f"/runs/{run}/explain").status_code == 404


def test_the_holder_of_a_concurrency_key_is_told(flow: Flow) -> None:
    flow.register("keyed", [flow.work], concurrency={"key": "account ${spec.account}", "limit": 1})
    first, second, third = (flow.submit("keyed", spec={"account": 7}) for _ in range(3))
    other = flow.submit("keyed", spec={"account": 8})
    assert flow.admin.get(f"/runs/{third}").get_json()["concurrency_key"] == "account 7"
    answer = flow.explain(third)
    (reason,) = answer["reasons"]
    assert (reason["code"], reason["limit"]["holders"]) == ("concurrency_key", [first])
    assert (answer["place"]["in_tenant"], flow.explain(second)["place"]["in_tenant"]) == (1, 0)
    assert flow.explain(other)["waiting"] is False
    assert_problem(flow.admin.post("/intents", {"type": "w.keyed", "spec": {}}), 422)


def test_a_key_that_reads_more_than_the_spec_is_refused(flow: Flow) -> None:
    for key in ("${steps.a.output}", "${secrets.A}", "${spec.}"):
        flow_of = {"name": "w.bad", "version": 1, "steps": [flow.work], "concurrency": {"key": key}}
        problem = assert_problem(flow.admin.post("/workflows", flow_of), 422)
        assert problem["errors"][0]["pointer"] == "/concurrency/key", problem


def test_what_steps_wait_for(flow: Flow) -> None:
    flow.register(
        "waits",
        [
            {"id": "time", "wait": {"for": "PT1H"}},
            {"id": "word", "wait": {"signal": "go"}},
            {"id": "end", "uses": "core.echo", "with": {"message": 1}, "needs": ["time", "word"]},
        ],
    )
    engine = flow.platform.parts.submit.engine
    run = flow.submit("waits")
    advance(engine, UUID(flow.admin.tenant_id), UUID(run))
    assert flow.step(run, "time")["code"] == "time"
    assert flow.step(run, "word")["detail"]["signal"] == "go"
    assert flow.step(run, "end")["detail"] == {"needs": ["time", "word"]}
    run = flow.submit()
    tenant = UUID(flow.admin.tenant_id)
    with flow.platform.parts.database.tenant(tenant) as connection:
        sent = hot.mark_sent(connection, tenant, UUID(run), ["a"], [0], BROKER)
    epoch = sent.epochs.get("a", 1)
    assert flow.step(run, "a")["code"] == "no_worker"
    flow.listen()
    assert flow.step(run, "a")["code"] == "slot"
    claim = hot.claim_step(flow.platform.parts.database, StepMessage(tenant, UUID(run), "a", epoch), LEASE)
    assert claim.verdict == "claimed"
    assert flow.step(run, "a")["detail"]["worker"] == "worker-1"
    flow.admin.post(f"/runs/{run}:pause")
    assert flow.reason(run)["code"] == "paused"
