"""One table: which role may call which operation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.http_api import Caller, Platform, assert_problem, echo

RUN = "/runs/01890000-0000-7000-8000-000000000000"
LETTER = "/dead-letters/01890000-0000-7000-8000-000000000000/a"
BULK = "/bulk-actions/01890000-0000-7000-8000-000000000000"
OVERRIDE = {"enabled": True, "reason": "x"}
SPAN = "from=2026-01-01&to=2026-01-31"
STEP = {"id": "a", "uses": "core.echo", "with": {"message": 1}}

ALL = {"platform_admin", "tenant_admin", "operator", "developer", "viewer", "auditor"}
READERS = ALL - {"platform_admin"}
DEVELOPERS = {"tenant_admin", "developer"}
ADMIN = {"tenant_admin"}

PERSON = {"email": "first@example.org", "password": "0123456789"}
SCHEDULE = "/schedules/01890000-0000-7000-8000-000000000000"
TRIGGER = "/triggers/01890000-0000-7000-8000-000000000000"
WEBHOOK = "/webhooks/01890000-0000-7000-8000-000000000000"
SCHEDULE_BODY = {**echo(), "name": "s-{role}", "timing": {"every_s": 3600}}
TABLE: list[tuple[str, str, Any, set[str]]] = [
    ("GET", "/me", None, ALL),
    ("GET", "/runs", None, READERS),
    ("GET", RUN, None, READERS),
    ("GET", f"{RUN}/steps", None, READERS),
    ("GET", f"{RUN}/steps/a", None, READERS),
    ("GET", f"{RUN}/steps/a/logs", None, READERS),
    ("GET", f"{RUN}/steps/a/output", None, READERS),
    ("GET", f"{RUN}/steps/a/artifacts/{'0' * 64}", None, READERS),
    ("POST", f"{RUN}/signals/go", {"payload": 1}, READERS),  # who may decides the run, which is not there
    ("GET", f"{RUN}/timeline", None, READERS),
    ("GET", "/intents", None, READERS),
    ("GET", f"/intents{RUN[5:]}", None, READERS),
    ("GET", f"/intents{RUN[5:]}/generations", None, READERS),
    ("GET", "/modules", None, READERS),
    ("GET", "/modules/core", None, READERS),
    ("GET", "/intent_types", None, READERS),
    ("GET", "/intent_types/core.echo", None, READERS),
    ("GET", "/intent_types/core.echo/versions/1", None, READERS),
    ("GET", "/workflows", None, READERS),
    ("GET", "/workflows/core.echo", None, READERS),
    ("GET", "/workflows/core.echo/versions/1", None, READERS),
    ("GET", "/events", None, READERS),
    ("GET", "/events/schemas", None, READERS),
    ("GET", "/events/schemas/run.failed", None, READERS),
    ("POST", "/intents", echo(), DEVELOPERS),
    ("POST", "/intents:batch", {"items": [echo()]}, DEVELOPERS),
    ("POST", "/workflows", {"name": "w.{role}", "version": 1, "steps": [STEP]}, DEVELOPERS),
    ("POST", "/modules", {"name": "m_{role}", "version": "1"}, DEVELOPERS),
    ("POST", f"{RUN}:retry", None, DEVELOPERS | {"operator"}),
    ("POST", f"{RUN}:cancel", None, DEVELOPERS | {"operator"}),
    ("POST", f"{RUN}:pause", None, DEVELOPERS | {"operator"}),
    ("POST", f"{RUN}:resume", None, DEVELOPERS | {"operator"}),
    ("POST", f"{RUN}:rerun", None, DEVELOPERS | {"operator"}),
    ("POST", f"{RUN}:rerun", {"spec": {}}, DEVELOPERS),
    ("POST", f"{RUN}/steps/a:skip", {"reason": "x"}, DEVELOPERS | {"operator"}),
    ("GET", "/dead-letters", None, READERS),
    ("GET", f"{LETTER}", None, READERS),
    ("POST", f"{LETTER}:replay", None, DEVELOPERS | {"operator"}),
    ("POST", "/runs:retry", {"filter": {}, "dry_run": True}, DEVELOPERS | {"operator"}),
    ("GET", "/bulk-actions", None, READERS),
    ("POST", "/bulk-actions", {"action": "cancel", "filter": {}, "limit": 1}, DEVELOPERS | {"operator"}),
    ("GET", BULK, None, READERS),
    ("GET", f"{BULK}/items", None, READERS),
    ("POST", f"{BULK}:pause", None, DEVELOPERS | {"operator"}),
    ("POST", f"{BULK}:resume", None, DEVELOPERS | {"operator"}),
    ("POST", f"{BULK}:cancel", None, DEVELOPERS | {"operator"}),
    ("GET", "/secrets", None, DEVELOPERS),
    ("PUT", "/secrets/A", {"value": "x"}, ADMIN),
    ("DELETE", "/secrets/NONE", None, ADMIN),
    ("GET", "/users", None, ADMIN | {"auditor"}),
    ("GET", f"/users{RUN[5:]}", None, ADMIN | {"auditor"}),
    ("POST", "/users", {"email": "n-{role}@e.org", "password": "0123456789", "roles": ["viewer"]}, ADMIN),
    ("PATCH", "/users/01890000-0000-7000-8000-000000000000", {}, ADMIN),
    ("GET", "/schedules", None, READERS),
    ("POST", "/schedules", SCHEDULE_BODY, DEVELOPERS),
    ("GET", SCHEDULE, None, READERS),
    ("PATCH", SCHEDULE, {}, DEVELOPERS),
    ("DELETE", SCHEDULE, None, DEVELOPERS),
    *(("POST", f"{SCHEDULE}:{verb}", None, DEVELOPERS) for verb in ("pause", "resume", "trigger")),
    (
        *("POST", f"{SCHEDULE}:backfill"),
        *({"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, DEVELOPERS),
    ),
    ("GET", f"{SCHEDULE}/firings", None, READERS),
    ("GET", f"{SCHEDULE}/times", None, READERS),
    ("GET", "/triggers", None, READERS),
    ("POST", "/triggers", {**echo(), "name": "t-{role}", "on": {"source": "inbound"}}, DEVELOPERS),
    ("GET", TRIGGER, None, READERS),
    ("PATCH", TRIGGER, {}, DEVELOPERS),
    ("DELETE", TRIGGER, None, DEVELOPERS),
    ("POST", f"{TRIGGER}:pause", None, DEVELOPERS),
    ("POST", f"{TRIGGER}:resume", None, DEVELOPERS),
    ("POST", f"{TRIGGER}:rotate-secret", {}, DEVELOPERS),
    ("GET", f"{TRIGGER}/firings", None, READERS),
    ("GET", "/webhooks", None, READERS),
    ("POST", "/webhooks", {"name": "w-{role}", "url": "https://example.org/", "types": ["*"]}, DEVELOPERS),
    ("GET", WEBHOOK, None, READERS),
    ("PATCH", WEBHOOK, {}, DEVELOPERS),
    ("DELETE", WEBHOOK, None, DEVELOPERS),
    ("POST", f"{WEBHOOK}:rotate-secret", {}, DEVELOPERS),
    ("POST", f"{WEBHOOK}:ping", None, DEVELOPERS),
    ("POST", f"{WEBHOOK}:replay", {"after": 0}, DEVELOPERS),
    ("GET", f"{WEBHOOK}/deliveries", None, READERS),
    ("GET", f"{WEBHOOK}/deliveries/01890000-0000-7000-8000-000000000000", None, READERS),
    ("POST", f"{WEBHOOK}/deliveries/01890000-0000-7000-8000-000000000000:replay", None, DEVELOPERS),
    ("GET", f"/usage?{SPAN}", None, READERS),
    ("GET", f"/usage/latencies?{SPAN}", None, READERS),
    ("GET", f"/platform/usage?{SPAN}", None, {"platform_admin"}),
    ("GET", "/flags", None, ALL),
    ("GET", "/platform/flags", None, {"platform_admin"}),
    ("GET", "/platform/flags/live_feed", None, {"platform_admin"}),
    ("PUT", "/platform/flags/live_feed", {"reason": "seen"}, {"platform_admin"}),
    (
        "PUT",
        f"/platform/flags/live_feed/tenants{RUN[5:]}",
        {"enabled": True, "reason": "x"},
        {"platform_admin"},
    ),
    ("GET", "/events/stream", None, READERS),
    ("GET", "/audit", None, ADMIN | {"auditor"}),
    ("GET", "/audit/verification", None, ADMIN | {"auditor"}),
    ("GET", "/tenants", None, {"platform_admin"}),
    ("POST", "/tenants", {"slug": "tabled", "name": "t", "admin": PERSON}, {"platform_admin"}),
    ("GET", "/tenants/01890000-0000-7000-8000-000000000000", None, {"platform_admin"}),
    ("PATCH", "/tenants/01890000-0000-7000-8000-000000000000", {}, {"platform_admin"}),
    ("GET", "/tenants/01890000-0000-7000-8000-000000000000/limits", None, {"platform_admin", "tenant_admin"}),
    ("PUT", "/tenants/01890000-0000-7000-8000-000000000000/limits", {}, {"platform_admin"}),
    ("GET", f"{RUN}/explain", None, READERS),
    ("GET", "/pools", None, {"platform_admin", "tenant_admin"}),
    ("PUT", "/tenants/01890000-0000-7000-8000-000000000000/pools/gpu", None, {"platform_admin"}),
    ("DELETE", "/tenants/01890000-0000-7000-8000-000000000000/pools/gpu", None, {"platform_admin"}),
    ("GET", "/platform/workers", None, {"platform_admin"}),
    ("GET", "/platform/workers/nobody@nowhere/order", None, {"platform_admin"}),
    ("PATCH", "/platform/workers/nobody@nowhere/order", {}, {"platform_admin"}),
    ("GET", "/platform/queues", None, {"platform_admin"}),
    ("GET", "/platform/beat", None, {"platform_admin"}),
    ("GET", "/platform/steps", None, {"platform_admin"}),
    ("GET", "/platform/keys", None, {"platform_admin"}),
    ("POST", "/platform/keys:rewrap", {"dry_run": True}, {"platform_admin"}),
    ("POST", "/platform/keys/0123456789abcdef:abandon", {"reason": "x"}, {"platform_admin"}),
    ("GET", "/platform/maintenance", None, {"platform_admin"}),
    ("PUT", "/platform/maintenance", {"active": False}, {"platform_admin"}),
    ("GET", "/platform/log-levels", None, {"platform_admin"}),
    ("GET", "/platform/log-levels/app.services.relay", None, {"platform_admin"}),
    ("PUT", "/platform/log-levels/app.services.relay", {"level": None}, {"platform_admin"}),
]


@pytest.fixture(scope="module")
def people(platform: Platform, tenant: tuple[str, Caller]) -> dict[str, Caller]:
    """One signed-in user for each role, the platform's administrator in the platform's tenant."""
    members = {role: platform.member(*tenant, role) for role in ALL - {"platform_admin"}}
    email = "second@example.org"
    body = {"email": email, "password": "0123456789", "roles": ["platform_admin"]}
    assert platform.root.post("/users", body).status_code == 201
    return {**members, "platform_admin": platform.sign_in("platform", email, "0123456789")}


NAMES = [f"{number} {row[0]} {row[1]}" for number, row in enumerate(TABLE)]
"""A set in a name would have the test processes disagree about it."""


@pytest.mark.parametrize(("method", "path", "body", "allowed"), TABLE, ids=NAMES)
def test_roles(people: dict[str, Caller], method: str, path: str, body: Any, allowed: set[str]) -> None:
    for role, caller in people.items():
        filled = _filled(body, role)
        answer = caller.call(method, path, json=filled, headers={"If-Match": "*"})
        if role in allowed:
            assert answer.status_code in (200, 201, 202, 204, 307, 404), (role, answer.text)
        else:
            assert_problem(answer, 403, "forbidden")


def test_platform_administration_cannot_be_granted_or_carried_elsewhere(
    platform: Platform, tenant: tuple[str, Caller]
) -> None:
    body = {"email": "x@example.org", "password": "0123456789", "roles": ["platform_admin"]}
    assert_problem(tenant[1].post("/users", body), 422)
    me = tenant[1].get("/me").get_json()
    path = f"/users/{me['user_id']}"
    assert_problem(tenant[1].patch(path, {"roles": ["platform_admin"]}, If_Match="*"), 422)
    assert "tenants:read" not in me["permissions"]


def test_the_last_administrator_stays(platform: Platform) -> None:
    slug, admin = platform.tenant()
    path = f"/users/{admin.get('/me').get_json()['user_id']}"
    assert_problem(admin.patch(path, {"roles": ["viewer"]}, If_Match="*"), 409, "last-admin")
    assert_problem(admin.patch(path, {"state": "disabled"}, If_Match="*"), 409, "last-admin")
    platform.member(slug, admin, "tenant_admin")
    assert admin.patch(path, {"roles": ["viewer"]}, If_Match="*").status_code == 200


def test_every_operation_stands_in_the_table(platform: Platform) -> None:
    document = platform.app.test_client().get("/api/v1/openapi.json").get_json()
    secured = [
        (method.upper(), path.removeprefix("/api/v1"))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete") and "403" in operation["responses"]
    ]
    assert len(secured) >= 100
    assert [each for each in secured if row_of(*each) is None] == []


def row_of(method: str, template: str) -> tuple[str, str, Any, set[str]] | None:
    """Return the first row of the table that calls an operation by its path's template."""
    form = re.compile(re.sub(r"\\\{[a-z_]+\\\}", "[^/:]+", re.escape(template)))
    return next((row for row in TABLE if row[0] == method and form.fullmatch(row[1].split("?")[0])), None)


def _filled(body: Any, role: str) -> Any:
    if isinstance(body, dict):
        return {
            key: value.replace("{role}", role) if isinstance(value, str) else value
            for key, value in body.items()
        }
    return body
