"""Every operation: what another tenant has answers a stranger just as what never was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest

from app.db import hot
from app.domain.leases import StepMessage
from app.services.artifacts import StepArtifacts
from tests.integration.api.test_roles import row_of
from tests.support.http_api import PREFIX, Caller, Platform
from tests.support.spine import LEASE

NEVER = "01890000-0000-7000-8000-00000000dead"
OF_ITS_OWN = {("PUT", "/secrets/{name}"), ("DELETE", "/secrets/{name}")}
"""Where a name in the path is the caller's to choose."""
EVERYBODYS = "/events/schemas"
NAMES = {
    "/secrets": "ZEBRA",
    "/modules": "zebra",
    "/workflows": "zebra.flow",
    "/intent_types": "zebra.type",
    "/platform/flags": "live_feed",
}
STEP = {"id": "echo", "uses": "core.echo", "with": {"message": "zebra"}}

Names = Mapping[str, str]


@pytest.fixture(scope="module")
def owned(platform: Platform) -> tuple[Caller, Names]:
    """A tenant that has one of everything, with what paths call that."""
    owner = platform.tenant()[1]
    database = platform.parts.database

    def made(path: str, body: Any) -> Any:
        answer = owner.post(path, body)
        assert answer.status_code in (201, 202), answer.text
        return answer.get_json()

    target = {"workflow_name": "zebra.flow", "workflow_version": 1}
    kind = {"name": "zebra.type", "version": 1, "spec_schema": {}, **target}
    flow = {"name": "zebra.flow", "version": 1, "steps": [STEP]}
    made("/modules", {"name": "zebra", "version": "1", "workflows": [flow], "intent_types": [kind]})
    job = {"type": "zebra.type", "spec": {"zebra": 1}, "labels": {"zebra": "zebra"}}
    intent = made("/intents", {**job, "name": "zebra"})
    run = intent["run"]["id"]
    message = StepMessage(UUID(owner.tenant_id), UUID(run), "echo", 1)
    platform.parts.platform.call(
        "UPDATE run_steps SET sent_at = now(), dispatch_epoch = 1 WHERE run_id = %s", (run,)
    )
    tries = hot.claim_step(database, message, LEASE).tries
    file = StepArtifacts(platform.parts.submit.engine.artifacts, database, message, tries).put(
        b"zebra", "a/b"
    )
    hot.finish_step(database, message, tries, "failed", output={"file": file}, error={"code": "zebra"})
    webhook = made("/webhooks", {"name": "zebra", "url": "https://zebra.example/", "types": ["*"]})["id"]
    assert owner.put("/secrets/ZEBRA", {"value": "zebra"}).status_code in (200, 201)
    person = {"email": "zebra@example.org", "password": "0123456789", "roles": ["viewer"]}
    return owner, {
        "tenant_id": owner.tenant_id,
        "intent_id": intent["intent"]["id"],
        "run_id": run,
        "digest": file["$artifact"]["sha256"],
        "user_id": made("/users", person)["id"],
        "bulk_id": made("/bulk-actions", {"action": "cancel", "filter": {"type": "core.echo"}})["id"],
        "schedule_id": made("/schedules", {**job, "name": "zebra", "timing": {"every_s": 86_400}})["id"],
        "trigger_id": made("/triggers", {**job, "name": "zebra", "on": {"source": "inbound"}})["id"],
        "webhook_id": webhook,
        "event_id": made(f"/webhooks/{webhook}:ping", None)["event_id"],
    }


def operations(platform: Platform) -> list[tuple[str, str]]:
    """Return method and path of every operation that needs a sign-in."""
    document = platform.app.test_client().get(f"{PREFIX}/openapi.json").get_json()
    return [
        (method.upper(), path.removeprefix(PREFIX))
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post", "put", "patch", "delete") and operation.get("security")
    ]


def filled(path: str, names: Names) -> str:
    """Return the path with the owner's names, or with ones that nobody has."""
    own = next((name for start, name in NAMES.items() if path.startswith(start)), "zebra")
    known = {"key": "echo", "version": "1", "pool": "zebra", "module": "app", "key_id": "0" * 16, **names}

    def value(found: re.Match[str]) -> str:
        word = found[1]
        if word == "name" and not names:
            return own.replace("zebra", "nobody").replace("ZEBRA", "NOBODY")
        return known.get(word, own if word == "name" else "f" * 64 if word == "digest" else NEVER)

    return re.sub(r"\{([a-z_]+)\}", value, path)


def asked(caller: Caller, method: str, path: str, template: str) -> tuple[int, Any]:
    """Return status and document of an answer, without what names the request."""
    row = row_of(method, template)
    body = row[2] if row else None
    answer = caller.call(method, path, json=body, headers={"If-Match": "*", "If-None-Match": "*"})
    document = answer.get_json(silent=True) if "json" in (answer.content_type or "") else None
    if isinstance(document, dict):
        document = {
            name: value
            for name, value in document.items()
            if name not in ("instance", "request_id", "trace_id")
        }
    return answer.status_code, document


def test_whatever_names_another_tenant_s_thing_is_not_there(
    platform: Platform, owned: tuple[Caller, Names], stranger: Caller
) -> None:
    _, names = owned
    found = 0
    for method, template in operations(platform):
        if "{" not in template or template.startswith(EVERYBODYS):
            continue
        status, document = asked(stranger, method, filled(template, names), template)
        never = asked(stranger, method, filled(template, {}), template)
        if (method, template) in OF_ITS_OWN:
            assert status == never[0], (method, template)
            continue
        assert status in (403, 404), (method, template, document)
        assert (status, document) == never, (method, template)
        assert "zebra" not in json.dumps(document), (method, template)
        found += status == 404
    assert found > 50


def test_no_list_shows_another_tenant_s_things(
    platform: Platform, owned: tuple[Caller, Names], stranger: Caller
) -> None:
    owner, names = owned
    shown = 0
    for method, template in operations(platform):
        if method != "GET" or "{" in template:
            continue
        path = {"/usage": "/usage?from=2026-01-01&to=2026-01-31"}.get(template, template)
        text = stranger.call("GET", path).text
        for name, value in names.items():
            assert value not in text, (template, name)
        assert "zebra" not in text, template
        shown += "zebra" in owner.call("GET", path).text
    assert shown >= 9


def test_no_header_makes_somebody_another_tenant(owned: tuple[Caller, Names], stranger: Caller) -> None:
    owner, names = owned
    headers = {
        "X-Tenant-ID": owner.tenant_id,
        "X-Quantum-Tenant": owner.tenant_id,
        "X-Original-URL": f"/api/v1/runs/{names['run_id']}",
        "X-HTTP-Method-Override": "DELETE",
        "Forwarded": "for=127.0.0.1",
        "Quantum-Consistency-Token": "FFFFFFFF/FFFFFFFF",
    }
    me = stranger.call("GET", "/me", headers=headers)
    assert me.get_json()["tenant_id"] == stranger.tenant_id
    assert stranger.call("GET", f"/runs/{names['run_id']}", headers=headers).status_code == 404


def test_the_owner_has_all_of_it_still(
    platform: Platform, owned: tuple[Caller, Names], stranger: Caller
) -> None:
    owner, names = owned
    missing = [
        template
        for method, template in operations(platform)
        if method == "GET"
        and "{" in template
        and not template.startswith((EVERYBODYS, "/platform", "/tenants/{tenant_id}"))
        and asked(owner, method, filled(template, names), template)[0] not in (200, 304)
    ]
    assert missing == []
