"""Steering over HTTP: what the caller sees of pause, resume, skip, retry from a step, rerun, dead letters."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import hot
from app.domain.leases import StepMessage
from tests.support.http_api import Caller, Platform, assert_problem, echo
from tests.support.spine import LEASE
from tests.support.waiting import eventually


@pytest.fixture
def run(admin: Caller) -> str:
    """A run of one step, which nobody executes."""
    return str(admin.post("/intents", echo()).get_json()["run"]["id"])


def end(platform: Platform, admin: Caller, run: str, outcome: str) -> None:
    """Execute the run's step as a worker would."""
    database = platform.parts.database
    message = StepMessage(UUID(admin.tenant_id), UUID(run), "echo", 1)
    # The sender's thread marks the step of a rerun a moment after the answer.
    claim = eventually(
        lambda: next((c for c in [hot.claim_step(database, message, LEASE)] if c.verdict == "claimed"), None)
    )
    finish = hot.finish_step(
        database, message, claim.tries, outcome, error={"code": "x", "message": "broken"}
    )
    assert finish.verdict == "finished"


def spec_of(admin: Caller, run: dict[str, Any]) -> tuple[Any, int]:
    intent = admin.get(f"/intents/{run['intent_id']}").get_json()
    return intent["spec"], intent["generation"]


def test_pause_and_resume(admin: Caller, stranger: Caller, run: str) -> None:
    assert_problem(admin.post(f"/runs/{run}:pause", If_Match='"v77"'), 412)
    assert_problem(admin.post(f"/runs/{run}:pause", {"because": "x"}), 422)
    assert_problem(stranger.post(f"/runs/{run}:pause"), 404)
    tag = admin.get(f"/runs/{run}").headers["ETag"]
    paused = admin.post(f"/runs/{run}:pause", {"reason": "lunch"}, If_Match=tag)
    assert (paused.status_code, paused.get_json()["state"]) == (202, "paused")
    assert paused.headers["Location"].endswith(f"/runs/{run}")
    assert admin.get("/runs", state="paused").get_json()["items"][0]["id"] == run
    again = admin.post(f"/runs/{run}:pause")
    assert again.headers["ETag"] == paused.headers["ETag"], "pausing twice changes nothing"
    resumed = admin.post(f"/runs/{run}:resume", If_Match=paused.headers["ETag"])
    assert (resumed.status_code, resumed.get_json()["state"]) == (202, "queued")
    assert admin.post(f"/runs/{run}:cancel").status_code == 202
    assert_problem(admin.post(f"/runs/{run}:resume"), 409, "illegal-state")
    audit = admin.get("/audit", subject=f"runs/{run}").get_json()["items"]
    assert [item["action"] for item in audit] == ["run.cancel", "run.resume", "run.pause"]
    assert audit[2]["detail"] == {"state": "paused", "reason": "lunch"}


def test_skip_names_its_reason(admin: Caller, run: str) -> None:
    path = f"/runs/{run}/steps/echo"
    assert_problem(admin.post(f"{path}:skip", {}), 422)
    assert_problem(admin.post(f"/runs/{run}/steps/nobody:skip", {"reason": "x"}), 404)
    key = {"Idempotency_Key": f"skip-{run}"}
    skipped = admin.post(f"{path}:skip", {"reason": "not today"}, **key)
    assert (skipped.status_code, skipped.get_json()["state"]) == (202, "succeeded")
    assert (
        admin.post(f"{path}:skip", {"reason": "not today"}, **key).headers["Idempotency-Replayed"] == "true"
    )
    step = admin.get(path).get_json()
    assert (step["state"], step["error"]["message"]) == ("skipped", "not today")
    assert step["error"]["by"] == "admin@example.org"


def test_rerun_with_an_edited_spec(platform: Platform, tenant: tuple[str, Caller], run: str) -> None:
    admin = tenant[1]
    assert_problem(admin.post(f"/runs/{run}:rerun"), 409, "illegal-state")
    end(platform, admin, run, "succeeded")
    faults = assert_problem(admin.post(f"/runs/{run}:rerun", {"spec": {"message": 1, "no": 2}}), 422)[
        "errors"
    ]
    assert faults[0]["pointer"].startswith("/spec")
    edited = {"spec": {"message": "edited"}}
    operator = platform.member(*tenant, "operator")
    assert_problem(operator.post(f"/runs/{run}:rerun", edited), 403)
    first = admin.post(f"/runs/{run}:rerun", edited, Idempotency_Key=f"rerun-{run}")
    assert first.status_code == 202, first.text
    new = first.get_json()
    assert first.headers["Location"].endswith(f"/runs/{new['id']}")
    assert (new["id"] != run, new["generation"], new["state"]) == (True, 2, "queued")
    same = admin.post(f"/runs/{run}:rerun", edited, Idempotency_Key=f"rerun-{run}")
    assert same.get_json()["id"] == new["id"]
    assert spec_of(admin, new) == ({"message": "edited"}, 2)
    assert_problem(operator.post(f"/runs/{run}:rerun"), 409, "intent-occupied")
    end(platform, admin, new["id"], "succeeded")
    third = operator.post(f"/runs/{new['id']}:rerun").get_json()
    assert third["generation"] == 2, "the same spec is no new generation"


def test_dead_letters(platform: Platform, admin: Caller, stranger: Caller, run: str) -> None:
    letter = f"/dead-letters/{run}/echo"
    assert_problem(admin.get(letter), 404)
    end(platform, admin, run, "failed")
    listed = admin.get("/dead-letters").get_json()["items"][0]
    assert (listed["run_id"], listed["key"], listed["error"]["code"]) == (run, "echo", "x")
    assert [each["error"]["code"] for each in admin.get(letter).get_json()["attempts"]] == ["x"]
    assert stranger.get("/dead-letters").get_json()["items"] == []
    assert_problem(stranger.post(f"{letter}:replay"), 404)
    assert_problem(admin.post(f"{letter}:replay", If_Match='"v77"'), 412)
    replayed = admin.post(f"{letter}:replay", Idempotency_Key=f"replay-{run}")
    assert (replayed.status_code, replayed.get_json()["state"]) == (202, "running")
    again = admin.post(f"{letter}:replay", Idempotency_Key=f"replay-{run}")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert_problem(admin.post(f"{letter}:replay"), 404)
    assert admin.get("/dead-letters").get_json()["items"] == []


def test_retry_from_a_step(platform: Platform, admin: Caller, run: str) -> None:
    end(platform, admin, run, "failed")
    assert_problem(admin.post(f"/runs/{run}:retry", {"from": "No Step"}), 422)
    assert_problem(admin.post(f"/runs/{run}:retry", {"from": "nobody"}), 404)
    assert admin.post(f"/runs/{run}:retry", {"from": "echo"}).get_json()["round"] == 1


def test_a_cancellation_that_compensates(admin: Caller, run: str) -> None:
    assert admin.get(f"/runs/{run}").get_json()["compensation"] is None
    assert_problem(admin.post(f"/runs/{run}:cancel", {"compensate": "perhaps"}), 422)
    done = admin.post(f"/runs/{run}:cancel", {"compensate": True, "reason": "no need"})
    assert done.status_code == 202, done.text
    assert (done.get_json()["state"], done.get_json()["compensation"]) == ("cancelled", "complete")
    audit = admin.get("/audit", subject=f"runs/{run}").get_json()["items"]
    assert audit[0]["detail"] == {"code": "cancelled", "reason": "no need", "compensate": True}


def test_the_key_of_a_compensation_has_a_place_in_the_api(admin: Caller, run: str) -> None:
    assert_problem(admin.get(f"/runs/{run}/steps/undo-echo"), 404)
    assert_problem(admin.post(f"/runs/{run}:retry", {"from": "undo-echo.3"}), 409)
