"""Schemathesis over the served OpenAPI, signed in: no 5xx, no undocumented answer, most succeed."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app.api.app import create_app
from app.db import hot, workers
from app.domain.leases import Child, Lease, StepMessage
from app.services.artifacts import StepArtifacts
from app.services.standing import Standings
from app.settings import Settings
from tests.support.http_api import PASSWORD, PREFIX, ROOT_EMAIL, Caller, Platform, echo, start_platform

GUIDED, POSITIVE, NEGATIVE = 3, 6, 6
ENOUGH = 0.8
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
WORKER = "seed@host"
NAMES = {
    "/modules": "core",
    "/secrets": "SEED",
    "/intent_types": "seed.type",
    "/platform/workers/": WORKER,
    "/platform/flags": "live_feed",
}
LOST_KEY = "0123456789abcdef"
STEP = {"id": "a", "uses": "core.echo", "with": {"message": 1}}

Fill = Callable[[Case], None]


@pytest.fixture(scope="module")
def platform(settings: Settings) -> Iterator[Platform]:
    """The application over this module's database; its administrator may do everything."""
    started = start_platform(settings)
    yield started
    started.parts.database.dispose()
    started.parts.platform.dispose()


class Seeds:
    """Real things for the guided requests, so that they can succeed."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.caller = platform.root
        self.numbers = itertools.count(1)
        self.intent, self.run = self._submitted()
        self.caller.put("/secrets/SEED", {"value": "x"})
        workflow = {"name": "seed.flow", "version": 1, "steps": [STEP]}
        kind = {
            "name": "seed.type",
            "version": 1,
            "spec_schema": {},
            "workflow_name": "seed.flow",
            "workflow_version": 1,
        }
        module = {"name": "seed", "version": "1", "workflows": [workflow], "intent_types": [kind]}
        assert self.caller.post("/modules", module).status_code == 201
        self.user = self.caller.get("/me").get_json()["user_id"]
        workers.beat(platform.parts.platform, uuid4(), WORKER, 1, "1.0", ("default",), [])
        self.slug, tenant_admin = platform.tenant()
        self.tenant = tenant_admin.tenant_id

    def _submitted(self) -> tuple[str, str]:
        made = self.caller.post("/intents", echo()).get_json()
        return made["intent"]["id"], made["run"]["id"]

    def failed_run(self) -> str:
        """Return a run that failed, as a worker would leave it."""
        message, tries = self._claimed()
        database = self.platform.parts.database
        hot.finish_step(database, message, tries, "failed", error={"code": "seeded"})
        return str(message.run_id)

    def done_run(self) -> tuple[str, str]:
        """Return a run that succeeded, with the hash of an artifact that its step holds."""
        message, tries = self._claimed()
        parts = self.platform.parts
        kept = StepArtifacts(parts.submit.engine.artifacts, parts.database, message, tries)
        file = kept.put(b"a,b", "text/csv")
        hot.finish_step(parts.database, message, tries, "succeeded", output={"file": file})
        return str(message.run_id), file["$artifact"]["sha256"]

    def _claimed(self) -> tuple[StepMessage, int]:
        run, tenant = self._submitted()[1], UUID(self.caller.tenant_id)
        for epoch in (0, 1):
            message = StepMessage(tenant, UUID(run), "echo", epoch)
            lease = Lease(uuid4(), Child(1, 1), "seed")
            claim = hot.claim_step(self.platform.parts.database, message, lease)
            if claim.verdict == "claimed":
                return message, claim.tries
        raise AssertionError(f"the step of {run} cannot be claimed")

    def schedule(self, number: int) -> str:
        """Return a schedule that nobody fires."""
        body = {**echo(), "name": f"seeded {number}", "timing": {"every_s": 86_400}}
        return str(self.caller.post("/schedules", body).get_json()["id"])

    def webhook(self, number: int) -> str:
        """Return a webhook whose endpoint nobody asks."""
        body = {"name": f"seeded {number}", "url": "https://example.org/", "types": ["*"]}
        return str(self.caller.post("/webhooks", body).get_json()["id"])

    def trigger(self, number: int) -> str:
        """Return a trigger to which nobody sends."""
        body = {**echo(), "name": f"seeded-{number}", "on": {"source": "inbound"}}
        return str(self.caller.post("/triggers", body).get_json()["id"])

    def told(self, path: str, number: int) -> dict[str, str]:
        """Return what paths of triggers, of webhooks name."""
        if path.startswith("/triggers/"):
            return {"trigger_id": self.trigger(number)}
        if path.startswith("/hooks/"):
            return {"tenant": "platform", "name": "nobody"}
        if path.startswith("/webhooks/"):
            webhook = self.webhook(number)
            sent = self.caller.post(f"/webhooks/{webhook}:ping").get_json()
            return {"webhook_id": webhook, "event_id": sent["event_id"]}
        return {}

    def bulk(self) -> str:
        """Return a bulk action that goes on."""
        self._submitted()
        made = self.caller.post("/bulk-actions", {"action": "cancel", "filter": {}, "rate": 0.01})
        return str(made.get_json()["id"])

    def fill(self, case: Case) -> None:
        """Put known good values into a generated request."""
        path, method = case.operation.path.removeprefix(PREFIX), case.method.upper()
        self.caller.put("/platform/maintenance", {"active": False}, If_Match="*")
        number = next(self.numbers)
        known = {
            "tenant_id": self.tenant,
            "user_id": self.user,
            "intent_id": self.intent,
            "run_id": self.run,
            "key": "echo",
            "key_id": LOST_KEY,
            "module": "app.services.relay",
            "name": next((name for start, name in NAMES.items() if path.startswith(start)), "seed.flow"),
            "version": 1,
        }
        if path.startswith("/bulk-actions/"):
            known["bulk_id"] = self.bulk()
        if path.endswith("/pools/{pool}"):
            known["pool"] = f"p{number}"
            if method == "DELETE":
                self.caller.put(f"/tenants/{self.tenant}/pools/p{number}", None)
        if path.startswith("/schedules/"):
            known["schedule_id"] = self.schedule(number)
        known |= self.told(path, number)
        if path.endswith((":retry", ":rerun", ":skip")) or path.startswith("/dead-letters/"):
            known["run_id"] = self.failed_run()
        elif path.endswith(("/output", "/artifacts/{digest}")):
            known["run_id"], known["digest"] = self.done_run()
        elif path.endswith((":cancel", ":pause", ":resume")) and path.startswith("/runs/"):
            known["run_id"] = self._submitted()[1]
        case.path_parameters = {name: known[name] for name in case.path_parameters}
        case.query = {}
        guarded = path.endswith(":rotate-secret") or path == "/platform/flags/{name}"
        guarded = guarded or method == "PATCH" or path == "/platform/maintenance"
        case.headers = {"If-Match": "*"} if guarded else {}
        if method == "DELETE":
            self.caller.put("/secrets/SEED", {"value": "x"})
        if case.body.__class__.__name__ != "NotSet":
            case.media_type = "application/json"
            case.body = self.body(f"{method} {path}", number) or case.body

    def body(self, operation: str, number: int) -> Any:
        """Return a body that the operation accepts; None where every generated one will do."""
        person = {"email": f"p{number}@example.org", "password": PASSWORD}
        bodies: dict[str, Callable[[], Any]] = {
            "POST /auth/token": lambda: {"tenant": "platform", "email": ROOT_EMAIL, "password": PASSWORD},
            "POST /auth/refresh": lambda: {
                "refresh_token": self.platform.sign_in("platform", ROOT_EMAIL).refresh_token
            },
            "PUT /me/password": lambda: {"current": PASSWORD, "new": PASSWORD},
            "POST /tenants": lambda: {"slug": f"s{number}", "name": "n", "admin": person},
            "PATCH /tenants/{tenant_id}": lambda: {"name": "changed"},
            "POST /users": lambda: {**person, "roles": ["viewer"]},
            "PATCH /users/{user_id}": lambda: {"display_name": "changed"},
            "POST /modules": lambda: {"name": f"m{number}", "version": "1"},
            "POST /intents": echo,
            "POST /intents:batch": lambda: {"items": [echo(), {}]},
            "POST /workflows": lambda: {"name": "w", "version": number, "steps": [STEP]},
            "POST /runs/{run_id}:cancel": lambda: {"reason": "test"},
            "POST /runs/{run_id}:pause": lambda: {"reason": "test"},
            "POST /runs/{run_id}:retry": lambda: {"from": "echo"},
            "POST /runs/{run_id}:rerun": lambda: {"spec": {"message": "again"}},
            "POST /runs/{run_id}/steps/{key}:skip": lambda: {"reason": "test"},
            "POST /runs:retry": lambda: {"filter": {}, "dry_run": True},
            "POST /schedules": lambda: {**echo(), "name": f"s{number}", "timing": {"every_s": 86_400}},
            "PATCH /schedules/{schedule_id}": lambda: {"overlap": "allow"},
            "POST /schedules/{schedule_id}:backfill": lambda: {
                "from": "2026-01-01T00:00:00Z",
                "to": "2026-01-01T00:00:00Z",
            },
            "POST /bulk-actions": lambda: {"action": "retry", "filter": {"type": "core.echo"}},
            "POST /triggers": lambda: {**echo(), "name": f"t{number}", "on": {"types": ["run.*"]}},
            "PATCH /triggers/{trigger_id}": lambda: {"labels": {"a": "b"}},
            "POST /webhooks": lambda: {
                "name": f"w{number}",
                "url": "https://example.org/",
                "types": ["run.*"],
            },
            "PATCH /webhooks/{webhook_id}": lambda: {"types": ["*"]},
            "POST /webhooks/{webhook_id}:replay": lambda: {"after": 0},
            "PUT /secrets/{name}": lambda: {"value": "x"},
            "PUT /platform/flags/{name}": lambda: {"reason": "test"},
            "PUT /platform/flags/{name}/tenants/{tenant_id}": lambda: {"enabled": None, "reason": "test"},
            "PATCH /platform/workers/{name}/order": lambda: {"state": "draining", "reason": "test"},
            "POST /platform/keys/{key_id}:abandon": lambda: {"reason": "test"},
            "PUT /platform/maintenance": lambda: {"active": False, "reason": f"r{number}"},
        }
        return bodies[operation]() if operation in bodies else None


def drive(
    app: Flask, caller: Caller, fill: Fill | None = None, only: str | None = None
) -> dict[str, Counter[int]]:
    """Send generated requests to every operation; return the statuses of each, raise at the first fault."""
    schema = schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", app)
    seen: dict[str, Counter[int]] = defaultdict(Counter)
    for result in schema.get_all_operations():
        operation = result.ok()
        if only is not None and operation.label != only:
            continue
        rounds = [(GenerationMode.POSITIVE, GUIDED, fill)] if fill else []
        rounds += [(GenerationMode.POSITIVE, POSITIVE, None)]
        if operation.body or operation.query or operation.path_parameters:
            rounds += [(GenerationMode.NEGATIVE, NEGATIVE, None)]
        for mode, examples, filling in rounds:
            _round(operation, caller, seen[operation.label], mode, examples, filling)
    return seen


def _round(
    operation: Any, caller: Caller, seen: Counter[int], mode: GenerationMode, examples: int, fill: Fill | None
) -> None:
    @hypothesis_settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),  # schemas of others decide how slow and large cases are
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def one(case: Case) -> None:
        if fill is not None:
            fill(case)
        answer = case.call(headers={"Authorization": f"Bearer {caller.token}"})
        seen[answer.status_code] += 1
        case.validate_response(answer, checks=CHECKS)

    one()


@pytest.fixture(scope="module")
def everything(platform: Platform) -> Caller:
    """A user of the platform's tenant with every role."""
    body = {
        "email": "all@example.org",
        "password": PASSWORD,
        "roles": ["platform_admin", "tenant_admin"],
    }
    assert platform.root.post("/users", body).status_code == 201
    return platform.sign_in("platform", "all@example.org")


def test_every_answer_is_documented(platform: Platform, everything: Caller) -> None:
    # Who changes his password ends the session that this goes on with: its standing is asked for once only.
    standings = Standings(platform.parts.database, clock=lambda: 0.0)
    app = create_app(replace(platform.parts, standings=standings))
    seen = drive(app, everything, Seeds(platform).fill)
    assert len(seen) >= 35
    succeeded = {label for label, statuses in seen.items() if any(200 <= code < 300 for code in statuses)}
    failed = sorted(set(seen) - succeeded)
    assert len(succeeded) >= ENOUGH * len(seen), {label: dict(seen[label]) for label in failed}
    assert not any(code >= 500 for statuses in seen.values() for code in statuses)


@pytest.mark.parametrize("answer", [("{}", 418), ("{}", 500), ('{"user_id": 7}', 200)])
def test_a_seeded_violation_is_found(platform: Platform, everything: Caller, answer: tuple[str, int]) -> None:
    app = create_app(platform.parts)
    app.view_functions["auth.show_me"] = lambda: (answer[0], answer[1], {"Content-Type": "application/json"})
    with pytest.raises(FailureGroup):
        drive(app, everything, only=f"GET {PREFIX}/me")
