"""A tenant keeps so many of each thing: exactly, also when eight ask at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from app.db import caps
from app.domain.caps import USUAL
from app.services import manage_users
from tests.integration.rls.test_isolation import TENANT
from tests.support.http_api import PASSWORD, Caller, Platform, assert_problem, echo

AT_ONCE = 8
STEP = {"id": "a", "uses": "core.echo", "with": {"message": "x"}}
KIND = {"version": 1, "workflow_name": "core.echo", "workflow_version": 1, "spec_schema": {}}
BOUNDS = {
    **{kind: "a cap" for kind in USUAL if kind != "planned_firings"},
    "schedule_firings": "planned ones by a cap, the others by time",
    **dict.fromkeys(("webhook_secrets", "trigger_secrets"), "three for each owner"),
    "webhook_queues": "one for each webhook",
    "refresh_families": "a thousand for each user",
    **dict.fromkeys(
        ("user_roles", "intent_labels", "run_signals", "step_progress"), "so many for each owner"
    ),
    **dict.fromkeys(("plans", "plan_steps"), "what workflows compile to"),
    **dict.fromkeys(
        ("intents", "intent_generations", "runs", "run_steps", "step_attempts"), "the work itself"
    ),
    **dict.fromkeys(("artifacts", "step_artifacts", "audit_records", "audit_seals"), "the work itself"),
    **dict.fromkeys(("step_results", "step_logs", "idempotency_keys", "trigger_firings"), "time"),
    **dict.fromkeys(("events", "dead_events", "webhook_deliveries", "webhook_attempts"), "time"),
    **dict.fromkeys(("usage_days", "usage_latencies", "usage_runs"), "a row a day or run"),
    "bulk_action_items": "so many for each bulk action",
    "concurrency_keys": "time: unused ones go",
    **dict.fromkeys(("tenant_keys", "tenant_limits", "event_floors"), "one row"),
    **dict.fromkeys(("fair_queues", "dedicated_pools", "flag_overrides"), "the operator's pools or flags"),
}
"""What keeps each relation of a tenant from growing without end."""

Send = Callable[[Caller, int], Any]


def _module(number: int, **more: Any) -> dict[str, Any]:
    return {"name": f"m{number}", "version": "1", "workflows": [], "intent_types": [], **more}


def _user(number: int) -> dict[str, Any]:
    return {"email": f"u{number}@example.org", "password": PASSWORD, "roles": ["viewer"]}


def _schedule(number: int) -> dict[str, Any]:
    return {"name": f"s{number}", **echo(), "timing": {"every_s": 3600}}


def _webhook(number: int) -> dict[str, Any]:
    return {"name": f"h{number}", "url": "https://example.org/", "types": ["*"]}


def _trigger(number: int) -> dict[str, Any]:
    return {"name": f"t{number}", **echo(), "on": {"types": ["run.failed"]}}


def _backfill(caller: Caller, number: int) -> Any:
    items = caller.get("/schedules").get_json()["items"]
    schedule = next(each for each in items if each["name"] == "first")
    hour = f"2026-01-01T{number:02}"
    wanted = {"from": f"{hour}:00:00Z", "to": f"{hour}:00:00Z", "per_minute": 1}
    return caller.post(f"/schedules/{schedule['id']}:backfill", wanted)


SEND: dict[str, Send] = {
    "users": lambda caller, number: caller.post("/users", _user(number)),
    "secrets": lambda caller, number: caller.put(f"/secrets/S{number}", {"value": "x"}),
    "modules": lambda caller, number: caller.post("/modules", _module(number)),
    "workflows": lambda caller, number: caller.post(
        "/workflows", {"name": f"w{number}", "version": 1, "steps": [STEP]}
    ),
    "intent_types": lambda caller, number: caller.post(
        "/modules", _module(100 + number, intent_types=[{"name": f"k{number}", **KIND}])
    ),
    "schedules": lambda caller, number: caller.post("/schedules", _schedule(number)),
    "planned_firings": _backfill,
    "webhooks": lambda caller, number: caller.post("/webhooks", _webhook(number)),
    "triggers": lambda caller, number: caller.post("/triggers", _trigger(number)),
    "bulk_actions": lambda caller, _: caller.post(
        "/bulk-actions", {"action": "cancel", "filter": {"type": "core.echo"}}
    ),
}


def limit(platform: Platform, caller: Caller, **most: int) -> Any:
    answer = platform.root.put(f"/tenants/{caller.tenant_id}/limits", {"caps": most}, If_Match="*")
    assert answer.status_code == 200, answer.text
    return answer.get_json()["caps"]


def use(caller: Caller, kind: str) -> Any:
    return caller.get(f"/tenants/{caller.tenant_id}/limits").get_json()["caps"][kind]


@pytest.fixture(scope="module")
def keeper(platform: Platform) -> Caller:
    """A tenant with a run that a bulk action finds, a schedule that a back-fill can be made for."""
    admin = platform.tenant()[1]
    assert admin.post("/intents", echo()).status_code == 202
    every_hour = {**_schedule(0), "timing": {"cron": "0 * * * *", "start_at": "2026-01-01T00:00:00Z"}}
    assert admin.post("/schedules", {**every_hour, "name": "first"}).status_code == 201
    return admin


def test_every_relation_of_a_tenant_has_a_bound() -> None:
    assert set(BOUNDS) == set(TENANT), "say what keeps a new relation from growing without end"
    assert set(SEND) == set(USUAL)


@pytest.mark.parametrize("kind", sorted(USUAL))
def test_eight_at_once_reach_the_cap_exactly(
    platform: Platform, keeper: Caller, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    had = use(keeper, kind)["in_use"]
    limit(platform, keeper, **{kind: had + 3})
    look, meeting = caps._most, threading.Barrier(2)

    def meet(*args: Any) -> int:
        # Whoever has added and counted waits for another: only a lock keeps that one from getting there.
        with contextlib.suppress(threading.BrokenBarrierError):
            meeting.wait(0.2)
        return look(*args)

    monkeypatch.setattr(caps, "_most", meet)
    monkeypatch.setattr(manage_users, "hash_password", lambda _: "none")
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda number=number: answers.append(SEND[kind](keeper, number)))
        for number in range(1, AT_ONCE + 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code == 409]
    assert (len(answers), len(refused)) == (AT_ONCE, AT_ONCE - 3), [answer.text for answer in answers]
    for answer in refused:
        told = assert_problem(answer, 409, f"too-many-{kind.replace('_', '-')}")
        assert told["cap"] == {"kind": kind, "most": had + 3, "in_use": had + 3}
        assert str(had + 3) in told["detail"]
    assert use(keeper, kind) == {"most": had + 3, "usual": USUAL[kind], "in_use": had + 3}


def test_a_cap_is_for_what_is_added_only(platform: Platform) -> None:
    admin = platform.tenant()[1]
    for number in range(3):
        assert SEND["secrets"](admin, number).status_code == 200
    assert limit(platform, admin, secrets=2)["secrets"] == {"most": 2, "usual": 1000, "in_use": 3}
    assert SEND["secrets"](admin, 0).status_code == 200, "what is there is changed, however many there are"
    told = assert_problem(SEND["secrets"](admin, 9), 409, "too-many-secrets")
    assert told["cap"] == {"kind": "secrets", "most": 2, "in_use": 3}
    for number in (0, 1):
        assert admin.delete(f"/secrets/S{number}", If_Match="*").status_code == 204
    assert SEND["secrets"](admin, 9).status_code == 200
    key = {"Idempotency_Key": "again"}
    assert admin.post("/webhooks", _webhook(1)).status_code == 201
    first = admin.post("/users", _user(1), **key)
    limit(platform, admin, webhooks=1, users=2)
    assert_problem(admin.post("/webhooks", _webhook(1)), 409, "name-taken")
    assert admin.post("/users", _user(1), **key).data == first.data, "an answer that was given stays"
    assert limit(platform, admin)["webhooks"] == {"most": 50, "usual": 50, "in_use": 1}
    assert admin.post("/webhooks", _webhook(2)).status_code == 201


def test_what_a_module_brings_is_counted_as_a_whole(platform: Platform) -> None:
    admin = platform.tenant()[1]
    limit(platform, admin, intent_types=1)
    two = [{"name": f"k{number}", **KIND} for number in range(2)]
    told = assert_problem(admin.post("/modules", _module(1, intent_types=two)), 409, "too-many-intent-types")
    assert told["cap"] == {"kind": "intent_types", "most": 1, "in_use": 0}
    assert "2 more" in told["detail"]
    assert use(admin, "modules")["in_use"] == 0, "nothing half-written"


def test_caps_are_the_platform_s_to_set(platform: Platform) -> None:
    admin = platform.tenant()[1]
    path = f"/tenants/{admin.tenant_id}/limits"
    for body, pointer in (
        ({"caps": {"runs": 1}}, "/caps/runs/key"),
        ({"caps": {"users": -1}}, "/caps/users/value"),
    ):
        (fault,) = assert_problem(platform.root.put(path, body, If_Match="*"), 422)["errors"]
        assert fault["pointer"] == pointer
    limit(platform, admin, users=7)
    told = admin.get("/audit", action="tenant.limits").get_json()["items"][0]["detail"]
    assert told["caps"] == {"users": 7}
