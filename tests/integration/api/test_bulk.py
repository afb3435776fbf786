"""Bulk actions over HTTP: counted, made once, looked at, steered, another tenant's never."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.http_api import Caller, Platform, assert_problem, echo


@pytest.fixture
def batch(admin: Caller) -> str:
    """A label that three runs which nobody executes have."""
    name = f"n{uuid4().hex[:8]}"
    for _ in range(3):
        assert admin.post("/intents", echo(labels={"batch": name})).status_code == 202
    return f"batch={name}"


def cancel(batch: str, **more: Any) -> dict[str, Any]:
    return {"action": "cancel", "filter": {"label": batch}, **more}


def test_a_dry_run_only_counts(admin: Caller, batch: str) -> None:
    counted = admin.post("/bulk-actions", cancel(batch, dry_run=True))
    assert (counted.status_code, counted.get_json()["matched"]) == (200, 3)
    assert len(counted.get_json()["sample"]) == 3
    assert admin.get("/bulk-actions").get_json()["items"] == []
    answer = admin.post("/runs:retry", {"filter": {"label": batch}, "dry_run": True})
    assert (answer.status_code, answer.get_json()) == (200, {"matched": 0, "sample": []})


def test_the_example(admin: Caller) -> None:
    order = json.loads((Path(__file__).parents[3] / "docs" / "examples" / "bulk.json").read_text())
    assert admin.post("/bulk-actions", {**order, "dry_run": True}).get_json() == {"matched": 0, "sample": []}
    made = admin.post("/bulk-actions", order)
    assert (made.status_code, made.get_json()["state"]) == (202, "finished"), "nothing fits"


def test_it_is_made_once_and_looked_at(admin: Caller, stranger: Caller, batch: str) -> None:
    key = {"Idempotency_Key": f"bulk-{batch}"}
    made = admin.post("/bulk-actions", cancel(batch, rate=5, reason="a test"), **key)
    assert made.status_code == 202, made.text
    found = made.get_json()
    path = made.headers["Location"].removeprefix("/api/v1")
    assert path == f"/bulk-actions/{found['id']}"
    again = admin.post("/bulk-actions", cancel(batch, rate=5, reason="a test"), **key)
    assert (again.get_json()["id"], again.headers["Idempotency-Replayed"]) == (found["id"], "true")
    shown = admin.get(path)
    assert shown.headers["ETag"].startswith(made.headers["ETag"][:-1]), "the same version"
    assert shown.get_json() == found
    assert (found["total"], found["done"], found["counts"], found["state"]) == (3, 0, {}, "running")
    assert found["filter"] == {"label": batch}
    first = admin.get(f"{path}/items", limit=2).get_json()
    rest = admin.get(f"{path}/items", limit=2, cursor=first["next_cursor"]).get_json()
    assert [item["n"] for item in first["items"] + rest["items"]] == [1, 2, 3]
    assert rest["next_cursor"] is None
    assert admin.get(f"{path}/items", outcome="ok").get_json()["items"] == []
    assert len(admin.get(f"{path}/items", outcome="pending").get_json()["items"]) == 3
    assert admin.get("/bulk-actions", state="running").get_json()["items"][0]["id"] == found["id"]
    for refused in (stranger.get(path), stranger.get(f"{path}/items"), stranger.post(f"{path}:cancel")):
        assert_problem(refused, 404)
    assert stranger.get("/bulk-actions").get_json()["items"] == []


def test_it_is_steered(admin: Caller, batch: str) -> None:
    made = admin.post("/bulk-actions", cancel(batch))
    path = f"/bulk-actions/{made.get_json()['id']}"
    assert_problem(admin.post(f"{path}:pause", If_Match='"v77"'), 412)
    paused = admin.post(f"{path}:pause", If_Match=made.headers["ETag"])
    assert (paused.status_code, paused.get_json()["state"]) == (202, "paused")
    assert admin.post(f"{path}:resume").get_json()["state"] == "running"
    ended = admin.post(f"{path}:cancel", Idempotency_Key=f"cancel-{path}")
    assert (ended.get_json()["state"], ended.get_json()["finished_at"] is None) == ("cancelled", False)
    assert_problem(admin.post(f"{path}:resume"), 409, "illegal-state")
    audit = admin.get("/audit", subject=path[1:]).get_json()["items"]
    assert [item["action"] for item in reversed(audit)] == [
        "bulk.create",
        "bulk.pause",
        "bulk.resume",
        "bulk.cancel",
    ]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"action": "explode", "filter": {}}, "/action"),
        ({"action": "retry"}, "/filter"),
        ({"action": "retry", "filter": {"state": "running"}}, "/filter/state"),
        ({"action": "retry", "filter": {"workflow": "w@0"}}, "/filter/workflow"),
        ({"action": "retry", "filter": {"color": "red"}}, "/filter/color"),
        ({"action": "retry", "filter": {}, "rate": 0}, "/rate"),
        ({"action": "retry", "filter": {}, "limit": 100_001}, "/limit"),
    ],
)
def test_faults_are_named(admin: Caller, body: Any, pointer: str) -> None:
    assert [
        fault["pointer"] for fault in assert_problem(admin.post("/bulk-actions", body), 422)["errors"]
    ] == [pointer]


def test_retry_by_filter_makes_one(platform: Platform, admin: Caller) -> None:
    made = admin.post("/runs:retry", {"filter": {"type": "core.echo"}})
    assert made.status_code == 202
    found = made.get_json()
    assert (found["action"], found["state"], found["total"]) == ("retry", "finished", 0)
    assert made.headers["Location"].endswith(found["id"])
