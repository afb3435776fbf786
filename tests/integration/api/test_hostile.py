"""What a tenant may try with graphs, schemas, expressions is refused or fails: nothing hangs or crashes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.test_limits import Flow
from tests.support.http_api import Caller, Platform, assert_problem
from tests.support.waiting import eventually

NUL = "['a\\u0000b']"
"""CEL for a text that PostgreSQL cannot keep."""
ECHO = {"uses": "core.echo", "with": {"message": "${item}"}}


@pytest.fixture
def flow(platform: Platform) -> Flow:
    return Flow(platform)


def ends(flow: Flow, run: str) -> dict[str, Any]:
    """Wait until the run has ended; return it."""
    path = f"/runs/{run}"
    eventually(lambda: flow.admin.get(path).get_json()["state"] in ("failed", "succeeded"), within=10)
    found: dict[str, Any] = flow.admin.get(path).get_json()
    return found


def error(found: dict[str, Any], key: str) -> Any:
    return next(step["error"] for step in found["steps"] if step["key"] == key)


def test_a_fan_over_what_cannot_be_kept_fails(flow: Flow) -> None:
    flow.register("nul", [{"id": "f", "foreach": NUL, **ECHO}])
    found = ends(flow, flow.submit("nul"))
    assert (found["state"], error(found, "f")["code"]) == ("failed", "foreach_failed")
    assert "U+0000" in error(found, "f")["message"]


def test_a_step_that_raises_what_nobody_foresaw_fails_once(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raises(*_: Any) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr("app.services.advance.evaluate_foreach", raises)
    flow.register("odd", [{"id": "f", "foreach": "[1]", **ECHO}])
    found = ends(flow, flow.submit("odd"))
    assert (found["state"], error(found, "f")["code"]) == ("failed", "decision_raised")


def test_a_concurrency_key_that_cannot_be_kept_is_refused(flow: Flow) -> None:
    flow.register("keyed", [flow.work], concurrency={"key": "${" + NUL + "[0]}"})
    problem = assert_problem(flow.admin.post("/intents", {"type": "w.keyed", "spec": {}}), 422)
    assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [("/spec", "concurrency_key")]
    flow.register("long", [flow.work], concurrency={"key": "${spec.key}"})
    assert_problem(flow.admin.post("/intents", {"type": "w.long", "spec": {"key": "x" * 200_000}}), 422)


@pytest.mark.parametrize(
    "until", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "10000-01-01", 7]
)
def test_a_wait_until_no_day_of_a_calendar_fails(flow: Flow, until: Any) -> None:
    flow.register("until", [{"id": "w", "wait": {"until": "${spec.until}"}}])
    found = ends(flow, flow.submit("until", {"until": until}))
    assert error(found, "w")["code"] == "wait_failed"


def test_a_wait_until_the_last_day_is_shown(flow: Flow) -> None:
    flow.register("last", [{"id": "w", "wait": {"until": "9999-12-31T23:59:59Z"}}])
    run = flow.submit("last")
    eventually(lambda: flow.step(run, "w")["code"] == "time", within=10)
    for path in (f"/runs/{run}", f"/runs/{run}/steps", f"/runs/{run}/steps/w", f"/runs/{run}/timeline"):
        assert flow.admin.get(path).status_code == 200, path


def test_an_item_without_a_place_is_told_so(flow: Flow) -> None:
    flow.register("places", [{"id": "f", "foreach": "range(3)", "max_parallel": 1, **ECHO}])
    run = flow.submit("places")
    eventually(lambda: flow.admin.get(f"/runs/{run}").get_json()["steps_total"] == 4, within=10)
    assert [flow.step(run, f"f.{n}")["code"] for n in (1, 2)] == ["place", "place"]
    assert "max_parallel" in flow.step(run, "f.2")["message"]


def test_a_schema_that_would_judge_for_hours_is_refused(admin: Caller) -> None:
    twice = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n - 1}"}] * 2} for n in range(1, 40)}
    schema = {"$defs": {"d0": {"type": "string"}, **twice}, "$ref": "#/$defs/d39"}
    kind = {"name": "slow", "version": 1, "workflow_name": "core.echo", "workflow_version": 1}
    manifest = {"name": "slow", "version": "1", "intent_types": [{**kind, "spec_schema": schema}]}
    answer = admin.post("/modules", manifest)
    faults = assert_problem(answer, 422)["errors"]
    assert [(one["pointer"], one["code"]) for one in faults] == [
        ("/intent_types/0/spec_schema", "too_costly")
    ]
