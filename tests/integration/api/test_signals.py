"""Signals with decisions over HTTP: who may, what is answered, what a repeat does."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.services.advance import advance
from tests.support.http_api import Caller, Platform, assert_problem

GATE = {"signal": "release", "approvers": {"roles": ["auditor", "tenant_admin"]}}
STEPS = [
    {"id": "paid", "wait": {"signal": "payment"}},
    {"id": "gate", "needs": ["paid"], "wait": GATE},
    {"id": "mend", "uses": "core.echo", "with": {"message": 1}, "needs": [{"step": "gate", "on": "failure"}]},
]
KIND = {"name": "w.signals", "version": 1, "workflow_name": "w.signals", "workflow_version": 1}


@pytest.fixture(scope="module")
def people(platform: Platform, tenant: tuple[str, Caller]) -> dict[str, Caller]:
    """The tenant's people; its type waits for a payment, then for an approval."""
    flow = {"name": "w.signals", "version": 1, "steps": STEPS}
    module = {
        "name": "signals",
        "version": "1",
        "workflows": [flow],
        "intent_types": [{**KIND, "spec_schema": {}}],
    }
    made = tenant[1].post("/modules", module)
    assert made.status_code == 201, made.text
    return {role: platform.member(*tenant, role) for role in ("developer", "viewer", "auditor")}


@pytest.fixture
def run(platform: Platform, admin: Caller, people: dict[str, Caller]) -> str:
    made = admin.post("/intents", {"type": "w.signals", "spec": {}})
    found: str = made.get_json()["run"]["id"]
    advance(platform.parts.submit.engine, UUID(admin.tenant_id), UUID(found))
    return found


def step(caller: Caller, run: str, key: str) -> Any:
    return caller.get(f"/runs/{run}/steps/{key}").get_json()


def test_a_signal_is_taken_once_whoever_repeats_it(people: dict[str, Caller], run: str) -> None:
    path, developer = f"/runs/{run}/signals/payment", people["developer"]
    assert step(developer, run, "paid")["input"] == {"signal": "payment"}
    first = developer.post(path, {"paid": 5}, Idempotency_Key="once")
    again = developer.post(path, {"paid": 5}, Idempotency_Key="once")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.get_json() == {"name": "payment", "step": "paid", "decision": None, "run_state": "running"}
    assert step(developer, run, "paid")["output"]["payload"] == {"paid": 5}
    assert developer.post(path).get_json()["step"] is None, "another one is kept"


def test_roles_of_signals_and_decisions(
    platform: Platform, people: dict[str, Caller], admin: Caller, run: str
) -> None:
    assert_problem(people["viewer"].post(f"/runs/{run}/signals/payment", {}), 403, "forbidden")
    decide, approve = f"/runs/{run}/signals/release", {"decision": "approve", "reason": "seen"}
    assert_problem(people["auditor"].post(decide, approve), 409, "not-waiting")
    people["developer"].post(f"/runs/{run}/signals/payment")
    advance(platform.parts.submit.engine, UUID(admin.tenant_id), UUID(run))
    assert_problem(people["developer"].post(decide, approve), 403, "forbidden")
    fault = assert_problem(admin.post(decide, {"decision": "maybe"}), 422)
    assert fault["errors"][0]["pointer"] == "/decision"
    assert_problem(admin.post(decide, {**approve, "more": 1}), 422)
    assert people["auditor"].post(decide, approve).get_json()["step"] == "gate"
    gate = step(admin, run, "gate")
    assert (gate["state"], gate["output"]["decisions"][0]["reason"]) == ("succeeded", "seen")
    shown = admin.get(f"/runs/{run}").get_json()
    assert {"source": "gate", "target": "mend", "on": "failure"} in shown["graph"]["edges"]
    assert shown["state"] == "succeeded", "nothing failed, so nothing is mended"
    assert_problem(admin.post(decide, approve), 409, "illegal-state")
    audited = admin.get("/audit", subject=f"runs/{run}").get_json()["items"]
    assert [one["action"] for one in audited] == ["run.approve", "run.signal"]


def test_what_is_not_there_or_too_large(people: dict[str, Caller], stranger: Caller, run: str) -> None:
    developer = people["developer"]
    assert_problem(developer.post(f"/runs/{run}/signals/unknown", {}), 404)
    assert_problem(developer.post("/runs/01890000-0000-7000-8000-000000000000/signals/payment"), 404)
    assert_problem(stranger.post(f"/runs/{run}/signals/payment", {}), 404)
    assert_problem(developer.post(f"/runs/{run}/signals/payment", "x" * 65_536), 413)
