"""Batches, own workflows with their types, secrets, limits, events: what is accepted is whole."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from app.api.app import create_app
from app.api.limits import TenantLimits
from app.db.engine import Database
from app.services.manage_secrets import secret_reader
from app.settings import Settings
from tests.support.http_api import Caller, Platform, assert_problem, echo

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
YAML = """
name: team.report
version: 1
steps:
  - id: load
    uses: core.echo
    with: {message: "${spec.who}"}
  - id: each
    uses: core.echo
    foreach: "[1, 2]"
    needs: [load]
    with: {message: "${item}"}
"""
TYPE = {
    "name": "team.report",
    "version": 1,
    "spec_schema": {"type": "object", "required": ["who"], "properties": {"who": {"type": "string"}}},
    "workflow_name": "team.report",
    "workflow_version": 1,
}


def test_a_batch_has_one_result_for_each_item(admin: Caller) -> None:
    items = [echo(), {"type": "core.echo"}, echo(spec={}), echo(type="no.such"), 7, echo()]
    answer = admin.post("/intents:batch", {"items": items[:4] + items[5:]})
    assert answer.status_code == 200, answer.text
    found = answer.get_json()
    assert found["accepted"] == 2
    assert [item["status"] for item in found["items"]] == [202, 422, 422, 422, 202]
    assert found["items"][1]["problem"]["errors"][0]["pointer"] == "/spec"
    assert admin.get(f"/runs/{found['items'][4]['run']['id']}").status_code == 200
    assert_problem(admin.post("/intents:batch", {"items": items}), 422)


def test_an_atomic_batch_is_all_or_nothing(admin: Caller) -> None:
    before = admin.get("/intents", label="atomic").get_json()["items"]
    good, bad = echo(labels={"atomic": "1"}), echo(spec={})
    problem = assert_problem(admin.post("/intents:batch", {"items": [good, bad], "atomic": True}), 422)
    assert problem["errors"][0]["pointer"].startswith("/items/1/spec")
    short = [good, {"type": "core.echo"}]
    assert_problem(admin.post("/intents:batch", {"items": short, "atomic": True}), 422)
    assert admin.get("/intents", label="atomic").get_json()["items"] == before
    both = admin.post("/intents:batch", {"items": [good, good], "atomic": True})
    assert both.get_json()["accepted"] == 2


def test_limits_are_durations_kept_with_the_run(admin: Caller) -> None:
    answer = admin.post("/intents", echo(deadline="PT2H", queue_timeout=90))
    run = admin.get(f"/runs/{answer.get_json()['run']['id']}").get_json()
    created, ends, begins = (
        datetime.fromisoformat(run[name]) for name in ("created_at", "deadline_at", "begin_by")
    )
    assert (ends - created, begins - created) == (timedelta(hours=2), timedelta(seconds=90))
    for wrong in ("soon", 0, "P1Y", True, "PT0S", None):
        problem = assert_problem(admin.post("/intents", echo(deadline=wrong)), 422)
        assert problem["errors"][0]["pointer"] == "/deadline", wrong


def test_a_batch_holds_a_thousand(admin: Caller) -> None:
    thousand = admin.post("/intents:batch", {"items": [echo()] * 1000})
    assert thousand.get_json()["accepted"] == 1000
    assert_problem(admin.post("/intents:batch", {"items": [echo()] * 1001}), 422)
    assert_problem(admin.post("/intents:batch", {"items": []}), 422)


def test_own_workflow_and_type_can_be_submitted(admin: Caller, stranger: Caller) -> None:
    headers = {"Content-Type": "application/yaml"}
    made = admin.call("POST", "/workflows", data=YAML.encode(), headers=headers)
    assert made.status_code == 201, made.text
    assert made.headers["Location"].endswith("/workflows/team.report/versions/1")
    assert_problem(
        admin.call("POST", "/workflows", data=YAML.encode(), headers=headers), 409, "version-exists"
    )
    module = {"name": "team", "version": "1.0", "intent_types": [TYPE]}
    assert admin.post("/modules", module).status_code == 201
    answer = admin.post("/intents", {"type": "team.report", "spec": {"who": "me"}})
    assert answer.status_code == 202, answer.text
    run = admin.get(f"/runs/{answer.get_json()['run']['id']}").get_json()
    edge = {"source": "load", "target": "each", "on": "success"}
    assert run["graph"] == {"nodes": ["load", "each"], "edges": [edge]}
    assert_problem(admin.post("/intents", {"type": "team.report", "spec": {}}), 422)
    assert_problem(stranger.post("/intents", {"type": "team.report", "spec": {"who": "x"}}), 422)


def test_a_workflow_is_submitted_under_its_own_name(admin: Caller, stranger: Caller) -> None:
    def flow(version: int) -> dict[str, Any]:
        step = {"id": "a", "uses": "core.echo", "with": {"message": version}}
        return {"name": "own-name.2026-11", "version": version, "steps": [step]}

    for version in (1, 20261127):
        made = admin.post("/workflows", flow(version))
        assert made.status_code == 201, made.text
        assert admin.get(made.headers["Location"].removeprefix("/api/v1")).get_json()["version"] == version
    wanted = {"type": "own-name.2026-11", "spec": {"any": "object"}}
    for more, version in (({}, 20261127), ({"type_version": 1}, 1)):
        answer = admin.post("/intents", {**wanted, **more})
        assert answer.status_code == 202, answer.text
        assert answer.get_json()["intent"]["type_version"] == version
        run = admin.get(f"/runs/{answer.get_json()['run']['id']}").get_json()
        assert run["workflow"] == {"name": "own-name.2026-11", "version": version}
    for refused in ({"type_version": 2}, {"spec": []}):
        assert_problem(admin.post("/intents", {**wanted, **refused}), 422)
    assert_problem(stranger.post("/intents", wanted), 422)
    strict = {"type": "object", "required": ["who"]}
    kind = {**TYPE, "name": "own-name.2026-11", "workflow_name": "own-name.2026-11", "spec_schema": strict}
    assert admin.post("/modules", {"name": "own", "version": "1", "intent_types": [kind]}).status_code == 201
    for version in (None, 1, 20261127):
        named = {} if version is None else {"type_version": version}
        assert_problem(admin.post("/intents", {**wanted, **named}), 422)


def test_the_example_of_a_module(admin: Caller) -> None:
    text = (EXAMPLES / "module.yaml").read_text()
    assert admin.post("/modules", yaml.safe_load(text)).status_code == 201
    order = {"type": "shop.order", "spec": {"item": "lamp", "count": 2}}
    assert admin.post("/intents", order).status_code == 202
    problem = assert_problem(admin.post("/intents", {**order, "spec": {"item": "lamp", "count": 0}}), 422)
    assert problem["errors"][0]["pointer"] == "/spec/count"


def test_a_module_is_registered_whole_or_not_at_all(admin: Caller) -> None:
    good = {
        "name": "half.one",
        "version": 1,
        "steps": [{"id": "a", "uses": "core.echo", "with": {"message": 1}}],
    }
    bad = {**good, "name": "half.two", "steps": [{"id": "a", "uses": "no.such"}]}
    answer = admin.post("/modules", {"name": "half", "version": "1", "workflows": [good, bad]})
    problem = assert_problem(answer, 422)
    assert problem["errors"][0]["pointer"] == "/workflows/1/steps/0/uses"
    assert_problem(admin.get("/workflows/half.one"), 404)
    assert_problem(admin.get("/modules/half"), 404)
    remote = {**TYPE, "name": "half.type", "spec_schema": {"$ref": "http://example.org/x"}}
    assert_problem(admin.post("/modules", {"name": "half", "version": "1", "intent_types": [remote]}), 422)


def _step(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "uses": "core.echo", "with": {"message": 1}, **more}


@pytest.mark.parametrize(
    ("steps", "pointer"),
    [
        ([_step("a", needs=["b"]), _step("b", needs=["a"])], "/steps/0/needs"),
        ([{"id": "a", "uses": "no.such"}], "/steps/0/uses"),
        ([_step("a", **{"with": {"message": "${1 +}"}})], "/steps/0/with/message"),
        ([_step("a", **{"with": {"message": "${steps.b.output}"}}), _step("b")], "/steps/0/with/message"),
        ([], "/steps"),
    ],
    ids=["cycle", "operation", "cel", "reference", "empty"],
)
def test_bad_definitions_name_their_place(admin: Caller, steps: list[Any], pointer: str) -> None:
    problem = assert_problem(admin.post("/workflows", {"name": "bad", "version": 1, "steps": steps}), 422)
    assert pointer in [fault["pointer"] for fault in problem["errors"]], problem


def test_yaml_cannot_unfold_or_smuggle(admin: Caller) -> None:
    headers = {"Content-Type": "application/yaml"}
    unfolding, smuggling = b"a: &x [1]\nb: *x\n", b"a: !!python/object:os.system x"
    for raw in (unfolding, smuggling, b"a: 2020-01-01", b"a: .nan", b"a: 1\na: 2", b"\x00"):
        assert_problem(admin.call("POST", "/workflows", data=raw, headers=headers), 400)
    assert_problem(admin.post("/workflows", {"name": "core.echo", "version": 1, "steps": []}), 422)


def test_secrets_are_written_never_read(
    platform: Platform, admin: Caller, stranger: Caller, settings: Settings
) -> None:
    value = "s3cr3t-value"
    answers = [admin.put("/secrets/TOKEN", {"value": value}), admin.get("/secrets"), admin.get("/audit")]
    assert all(value not in answer.text for answer in answers)
    stranger.put("/secrets/TOKEN", {"value": "another"})
    read = secret_reader(platform.parts.box, platform.parts.database)
    assert read(UUID(admin.tenant_id), ["TOKEN", "MISSING"]) == {"TOKEN": value}
    owner = Database(settings.database_url)
    with owner.tenant(UUID(admin.tenant_id)) as connection:
        row = connection.exec_driver_sql("SELECT ciphertext, nonce FROM secrets WHERE name = 'TOKEN'").one()
    assert value.encode() not in bytes(row.ciphertext)
    admin.put("/secrets/TOKEN", {"value": "changed"})
    assert read(UUID(admin.tenant_id), ["TOKEN"]) == {"TOKEN": "changed"}
    assert admin.delete("/secrets/TOKEN").status_code == 204
    assert read(UUID(admin.tenant_id), ["TOKEN"]) == {}
    owner.dispose()


def test_a_tenant_over_its_limit_waits_while_others_go_on(
    platform: Platform, admin: Caller, stranger: Caller, redis_url: str
) -> None:
    app = create_app(replace(platform.parts, limits=TenantLimits(redis_url, 5)))
    busy, calm = Caller(app, admin.token), Caller(app, stranger.token)
    seen = [busy.get("/me") for _ in range(7)]
    assert [answer.status_code for answer in seen] == [200] * 5 + [429] * 2
    assert_problem(seen[-1], 429, "rate-limited")
    assert int(seen[-1].headers["Retry-After"]) >= 1
    assert calm.get("/me").status_code == 200


def test_without_redis_requests_go_on(platform: Platform, admin: Caller) -> None:
    app = create_app(replace(platform.parts, limits=TenantLimits("redis://127.0.0.1:1/0", 1)))
    assert [Caller(app, admin.token).get("/me").status_code for _ in range(4)] == [200] * 4


def test_events_are_read_by_position(platform: Platform, admin: Caller) -> None:
    admin.post("/intents", echo())
    with platform.parts.platform.system() as connection:
        connection.exec_driver_sql("SELECT sequence_events(10000)")
    feed = admin.get("/events", limit=200, type="io.quantum.intent.created").get_json()
    assert feed["items"][-1]["specversion"] == "1.0"
    assert feed["items"][-1]["subject"].startswith("intents/")
    again = admin.get("/events", after=feed["next_cursor"], type="io.quantum.intent.created").get_json()
    assert again["next_cursor"] >= feed["next_cursor"]
    subject = feed["items"][-1]["subject"]
    assert len(admin.get("/events", subject=subject).get_json()["items"]) == 1
