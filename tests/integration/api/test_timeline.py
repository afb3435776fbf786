"""The timeline of a run: complete, in order, page by page, without what is the auditor's."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import hot
from app.domain.leases import StepMessage
from tests.support.http_api import Caller, Platform, assert_problem, echo
from tests.support.spine import LEASE


@pytest.fixture
def run(platform: Platform, admin: Caller) -> str:
    """A run whose step was tried twice, then was paused, resumed, runs."""
    run = str(admin.post("/intents", echo()).get_json()["run"]["id"])
    database, tenant = platform.parts.database, UUID(admin.tenant_id)
    claim = hot.claim_step(database, StepMessage(tenant, UUID(run), "echo", 1), LEASE)
    error = {"code": "timeout", "message": "no answer"}
    hot.finish_step(database, StepMessage(tenant, UUID(run), "echo", 1), claim.tries, "failed", error=error)
    assert admin.post(f"/runs/{run}:retry").status_code == 202
    admin.post(f"/runs/{run}:pause", {"reason": "lunch"})
    admin.post(f"/runs/{run}:resume")
    return run


def told(caller: Caller, run: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        page = caller.get(f"/runs/{run}/timeline", limit=limit, **cursor).get_json()
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = {"cursor": page["next_cursor"]}


def test_every_transition_is_told_in_order(admin: Caller, run: str) -> None:
    found = told(admin, run, 200)
    names = [each["name"] for each in found]
    assert set(names[:2]) == {"attempt.began", "run.started"}
    assert names.index("attempt.failed") < names.index("run.retry") < names.index("run.pause")
    assert names.index("run.pause") < names.index("run.resume")
    assert {"step.failed", "run.failed", "run.retried", "run.paused", "run.resumed"} <= set(names)
    assert [each["at"] for each in found] == sorted(each["at"] for each in found)
    by_name = {each["name"]: each for each in found}
    failed, paused = by_name["attempt.failed"], by_name["run.pause"]
    assert (failed["step"], failed["tries"], failed["cause"], failed["worker"]) == (
        "echo",
        1,
        "no answer",
        LEASE.worker,
    )
    assert (paused["actor"]["email"], paused["cause"]) == ("admin@example.org", "lunch")
    assert not [each for each in found if "source_ip" in (each["actor"] or {})], "that is the auditor's"


def test_its_pages_fit_together(admin: Caller, run: str) -> None:
    assert told(admin, run, 3) == told(admin, run, 200)


def test_a_running_attempt_is_told_another_tenant_learns_nothing(
    platform: Platform, admin: Caller, stranger: Caller
) -> None:
    run = str(admin.post("/intents", echo()).get_json()["run"]["id"])
    tenant = UUID(admin.tenant_id)
    hot.claim_step(platform.parts.database, StepMessage(tenant, UUID(run), "echo", 1), LEASE)
    assert "attempt.began" in [each["name"] for each in told(admin, run, 50)]
    assert_problem(stranger.get(f"/runs/{run}/timeline"), 404)
