"""Sub-workflows over HTTP: pinned, refused with their place, linked both ways, steered by the parent."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import hot
from app.domain.leases import StepMessage
from app.services.dispatch import Dispatch
from app.services.family import follow_parents
from tests.support.http_api import Caller, Platform, assert_problem
from tests.support.spine import LEASE
from tests.support.waiting import eventually

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


def workflow(name: str, *steps: dict[str, Any], version: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": version, "steps": list(steps), **more}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"id": "call", "workflow": name, **more}


ECHO = {"id": "echo", "uses": "core.echo", "with": {"message": "${spec.n}"}}


@pytest.fixture(scope="module")
def family(admin: Caller) -> str:
    """A module whose type `nest.outer` runs `nest.inner`, whose spec has a schema."""
    outer = workflow(
        "nest.outer",
        call("nest.inner", **{"with": {"n": "${spec.number}"}}),
        output={"echoed": "${steps.call.output.echoed}"},
    )
    inner = workflow("nest.inner", ECHO, output={"echoed": "${steps.echo.output.message}"})
    manifest = {
        "name": "nest",
        "version": "1.0.0",
        "workflows": [inner, outer],
        "intent_types": [
            {
                "name": name,
                "version": 1,
                "mode": "job",
                "spec_schema": schema,
                "workflow_name": name,
                "workflow_version": 1,
            }
            for name, schema in (("nest.inner", SCHEMA), ("nest.outer", {"type": "object"}))
        ],
    }
    made = admin.post("/modules", manifest)
    assert made.status_code == 201, made.get_json()
    return "nest.outer"


def begin(admin: Caller, kind: str, spec: Any) -> tuple[str, dict[str, Any]]:
    """Submit an intent; return its run with the run that its step is, once it is there."""
    run = str(admin.post("/intents", {"type": kind, "spec": spec}).get_json()["run"]["id"])

    def child() -> Any:
        found = admin.get("/runs", parent=run).get_json()["items"]
        return found[0] if found else None

    return run, eventually(child)


def finish(
    platform: Platform, admin: Caller, run: str, key: str, outcome: str, output: Any = None
) -> hot.Finish:
    """Execute a step as a worker would that dies before it sends anything on."""
    database = platform.parts.database

    def claimed() -> hot.Claim | None:
        rows = platform.parts.platform.call(
            "SELECT dispatch_epoch FROM run_steps WHERE run_id = %s AND key = %s", (run, key)
        )
        message = StepMessage(UUID(admin.tenant_id), UUID(run), key, rows[0][0])
        claim = hot.claim_step(database, message, LEASE)
        return claim if claim.verdict == "claimed" else None

    claim = eventually(claimed)
    message = StepMessage(UUID(admin.tenant_id), UUID(run), key, 1)
    return hot.finish_step(database, message, claim.tries, outcome, output=output, error={"code": "x"})


def test_a_name_is_pinned_to_the_newest_version(admin: Caller) -> None:
    for version in (1, 2):
        assert admin.post("/workflows", workflow("pin.inner", ECHO, version=version)).status_code == 201
    made = admin.post("/workflows", workflow("pin.outer", call("pin.inner"))).get_json()
    assert made["document"]["steps"][0]["workflow"] == "pin.inner@2"
    admin.post("/workflows", workflow("pin.inner", ECHO, version=3))
    assert admin.get("/workflows/pin.outer").get_json()["document"] == made["document"]


@pytest.mark.parametrize(
    ("step", "pointer", "code"),
    [
        (call("nobody.here"), "/steps/0/workflow", "unknown_workflow"),
        (call("nest.inner@9"), "/steps/0/workflow", "unknown_workflow"),
        (call("self.loop"), "/steps/0/workflow", "unknown_workflow"),
        (call("nest.inner", **{"with": {"n": "one"}}), "/steps/0/with/n", "schema"),
        (call("nest.inner"), "/steps/0/with", "schema"),
        (call("nest.inner", **{"with": {"n": 1, "m": "${spec.x}"}}), "/steps/0/with/m", "schema"),
        (call("nest.inner", **{"with": {"n": "${secrets.T}"}}), "/steps/0/with/n", "bad_expression"),
        (call("nest.inner", **{"with": {"n": 1}}, queue="gpu"), "/steps/0/queue", "schema"),
        (call("nest.inner", **{"with": {"n": 1}}, uses="core.echo"), "/steps/0/uses", "schema"),
        (call("Nest Inner"), "/steps/0/workflow", "schema"),
    ],
)
def test_a_fault_has_its_place(
    admin: Caller, family: str, step: dict[str, Any], pointer: str, code: str
) -> None:
    answer = admin.post("/workflows", workflow("self.loop", step))
    faults = assert_problem(answer, 422)["errors"]
    assert (pointer, code) in [(fault["pointer"], fault["code"]) for fault in faults], faults


def test_the_output_names_known_steps_without_secrets(admin: Caller) -> None:
    for value in ("${steps.nobody.output}", "${secrets.TOKEN}", "${item}", "${1 +}"):
        answer = admin.post("/workflows", workflow("out.put", ECHO, output={"a": {"b": value}}))
        assert assert_problem(answer, 422)["errors"][0]["pointer"] == "/output/a/b"


def test_more_than_five_levels_are_refused(admin: Caller) -> None:
    admin.post("/workflows", workflow("deep.w0", ECHO))
    for level in range(1, 6):
        made = admin.post("/workflows", workflow(f"deep.w{level}", call(f"deep.w{level - 1}@1")))
        assert made.status_code == 201
    answer = admin.post("/workflows", workflow("deep.w6", call("deep.w5")))
    assert assert_problem(answer, 422)["errors"][0]["code"] == "too_deep"


def test_parent_and_child_are_linked_both_ways(
    platform: Platform, admin: Caller, stranger: Caller, family: str
) -> None:
    run, child = begin(admin, family, {"number": 7})
    assert child["parent"] == {"run_id": run, "step": "call"}
    assert (child["depth"], child["workflow"]["name"], child["type"]) == (1, "nest.inner", family)
    shown = admin.get(f"/runs/{run}").get_json()
    assert shown["steps"][0]["child_run_id"] == child["id"]
    assert (shown["steps"][0]["state"], shown["parent"], shown["output"]) == ("waiting", None, None)
    assert admin.get(f"/runs/{run}/steps/call").get_json()["input"] == {"n": 7}
    assert admin.get(f"/runs/{child['id']}").get_json()["spec"] == {"n": 7}
    assert stranger.get("/runs", parent=run).get_json()["items"] == []
    assert_problem(stranger.get(f"/runs/{child['id']}"), 404)
    assert {item["id"] for item in admin.get("/runs", intent_id=child["intent_id"]).get_json()["items"]} == {
        run,
        child["id"],
    }
    assert finish(platform, admin, child["id"], "echo", "succeeded", {"message": 7}).needs_advance is True
    follow_parents(Dispatch(platform.parts.submit.engine, platform.parts.platform))
    shown = admin.get(f"/runs/{run}").get_json()
    assert (shown["state"], shown["output"]) == ("succeeded", {"echoed": 7})


def test_a_child_is_steered_by_its_parent(platform: Platform, admin: Caller, family: str) -> None:
    run, child = begin(admin, family, {"number": 8})
    finish(platform, admin, child["id"], "echo", "failed")
    follow_parents(Dispatch(platform.parts.submit.engine, platform.parts.platform))
    shown = admin.get(f"/runs/{run}/steps/call").get_json()
    assert (shown["error"]["code"], shown["error"]["child_run_id"]) == ("child_failed", child["id"])
    for path in (f"/runs/{child['id']}:retry", f"/runs/{child['id']}:rerun"):
        assert run in assert_problem(admin.post(path), 409, "illegal-state")["detail"]
    assert_problem(admin.post(f"/runs/{child['id']}/steps/echo:skip", {"reason": "x"}), 409, "illegal-state")
    found = admin.post("/runs:retry", {"filter": {"type": family}, "dry_run": True}).get_json()
    assert found["matched"] == 1, "the parent alone"
    assert admin.post(f"/runs/{run}:retry").status_code == 202
    eventually(lambda: admin.get(f"/runs/{child['id']}").get_json()["state"] == "running")
    assert admin.post(f"/runs/{run}:cancel").status_code == 202
    eventually(lambda: admin.get(f"/runs/{run}").get_json()["state"] == "cancelled")
    assert admin.get(f"/runs/{child['id']}").get_json()["state"] == "cancelled"
    audit = admin.get("/audit", subject=f"runs/{child['id']}").get_json()["items"]
    assert [item["action"] for item in audit] == ["run.cancel"]


def test_a_family_that_is_full_begins_no_further_run(
    admin: Caller, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.advance.FAMILY_AT_MOST", 1)
    run = str(admin.post("/intents", {"type": family, "spec": {"number": 7}}).get_json()["run"]["id"])
    eventually(lambda: admin.get(f"/runs/{run}").get_json()["state"] == "failed")
    assert admin.get(f"/runs/{run}/steps/call").get_json()["error"]["code"] == "too_many_runs"
    assert admin.get("/runs", parent=run).get_json()["items"] == []


def test_a_spec_that_does_not_fit_fails_the_step(admin: Caller, family: str) -> None:
    run = str(admin.post("/intents", {"type": family, "spec": {"number": "seven"}}).get_json()["run"]["id"])
    eventually(lambda: admin.get(f"/runs/{run}").get_json()["state"] == "failed")
    error = admin.get(f"/runs/{run}/steps/call").get_json()["error"]
    assert error["code"] == "invalid_spec"
    assert "/with/n" in error["message"]
