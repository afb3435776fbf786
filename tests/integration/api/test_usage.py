"""Usage through the API: what a tenant sees of itself, what the platform sees, bad questions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.db.usage import UsageModels
from app.services.usage import follow_usage
from tests.support.http_api import Caller, Platform, assert_problem, echo


def week() -> dict[str, str]:
    today = datetime.now(UTC).date()
    return {"from": (today - timedelta(days=6)).isoformat(), "to": (today + timedelta(days=1)).isoformat()}


def test_a_tenant_sees_its_own_usage_and_the_platform_who_used_most(
    platform: Platform, admin: Caller, stranger: Caller
) -> None:
    run_id = admin.post("/intents", echo()).get_json()["run"]["id"]
    assert admin.post(f"/runs/{run_id}:cancel").status_code == 202
    platform.parts.platform.call("SELECT sequence_events(1000)")
    follow_usage(UsageModels(platform.parts.platform))
    [day] = admin.get("/usage", **week()).get_json()["items"]
    assert (day["runs_cancelled"], day["runs_succeeded"]) == (1, 0)
    assert day["events"] >= 2
    assert all(day["attempts"] == 0 for day in stranger.get("/usage", **week()).get_json()["items"])
    found = admin.get("/usage/latencies", measure="wait", **week()).get_json()
    assert found["runs"] == 1
    assert found["p50_s"] > 0
    assert found["buckets"][-1] == {"at_most_s": None, "runs": 1}
    assert stranger.get("/usage/latencies", **week()).get_json()["p50_s"] is None
    top = platform.root.get("/platform/usage", **week()).get_json()["items"]
    assert {each["tenant_id"]: each["runs"] for each in top}[admin.tenant_id] == 1


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({}, "/query/from"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "/query/to"),
        ({"from": "2024-01-01", "to": "2026-01-01"}, "/query/from"),
        ({"from": "yesterday", "to": "2026-01-01"}, "/query/from"),
    ],
)
def test_bad_spans_are_told(admin: Caller, query: dict[str, str], pointer: str) -> None:
    refused = assert_problem(admin.get("/usage", **query), 422)
    assert refused["errors"][0]["pointer"] == pointer
