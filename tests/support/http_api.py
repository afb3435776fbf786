"""The HTTP application in this process, over real servers, with people who call it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from flask import Flask
from werkzeug.test import TestResponse

from app.api.app import create_app
from app.api.parts import ApiParts
from app.bootstrap.api import build_api
from app.services.manage_tenants import create_platform_tenant
from app.settings import Settings

PASSWORD = "correct horse battery"
PREFIX = "/api/v1"
ROOT_EMAIL = "root@example.org"


@dataclass
class Caller:
    """One signed-in person."""

    app: Flask
    token: str | None = None
    tenant_id: str = ""
    refresh_token: str = field(default="", repr=False)

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send one request below the API's prefix."""
        headers: dict[str, str] = dict(options.pop("headers", {}))
        if self.token:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        return self.app.test_client().open(PREFIX + path, method=method, headers=headers, **options)

    def get(self, path: str, **query: Any) -> TestResponse:
        return self.call("GET", path, query_string=query)

    def post(self, path: str, body: Any = None, **headers: str) -> TestResponse:
        return self.call("POST", path, json=body, headers=_dashed(headers))

    def patch(self, path: str, body: Any, **headers: str) -> TestResponse:
        return self.call("PATCH", path, json=body, headers=_dashed(headers))

    def put(self, path: str, body: Any, **headers: str) -> TestResponse:
        return self.call("PUT", path, json=body, headers=_dashed(headers))

    def delete(self, path: str, **headers: str) -> TestResponse:
        return self.call("DELETE", path, headers=_dashed(headers))


@dataclass
class Platform:
    """The application with its platform administrator."""

    parts: ApiParts
    app: Flask
    root: Caller

    def anonymous(self) -> Caller:
        return Caller(self.app)

    def sign_in(self, tenant: str, email: str, password: str = PASSWORD) -> Caller:
        answer = Caller(self.app).post(
            "/auth/token", {"tenant": tenant, "email": email, "password": password}
        )
        assert answer.status_code == 200, answer.text
        tokens = answer.get_json()
        caller = Caller(self.app, tokens["access_token"], refresh_token=tokens["refresh_token"])
        caller.tenant_id = caller.get("/me").get_json()["tenant_id"]
        return caller

    def tenant(self) -> tuple[str, Caller]:
        """Make a tenant; return its slug and its administrator."""
        slug = f"t{uuid4().hex[:12]}"
        admin = {"email": "admin@example.org", "password": PASSWORD}
        made = self.root.post("/tenants", {"slug": slug, "name": slug, "admin": admin})
        assert made.status_code == 201, made.text
        return slug, self.sign_in(slug, "admin@example.org")

    def member(self, slug: str, admin: Caller, role: str) -> Caller:
        """Make a user with one role; return it signed in."""
        email = f"{role}-{uuid4().hex[:8]}@example.org"
        made = admin.post("/users", {"email": email, "password": PASSWORD, "roles": [role]})
        assert made.status_code == 201, made.text
        return self.sign_in(slug, email)


def start_platform(settings: Settings) -> Platform:
    """Return the application over an empty database, its platform tenant made."""
    parts = build_api(settings)
    create_platform_tenant(parts.platform, "Platform", ROOT_EMAIL, PASSWORD)
    app = create_app(parts)
    platform = Platform(parts, app, Caller(app))
    platform.root = platform.sign_in("platform", ROOT_EMAIL)
    return platform


def echo(**more: Any) -> dict[str, Any]:
    """Return a submission of the built-in echo."""
    return {"type": "core.echo", "spec": {"message": "hello"}, **more}


def assert_problem(answer: TestResponse, status: int, kind: str | None = None) -> Mapping[str, Any]:
    """Check that the answer is a whole problem document; return it."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json", answer.content_type
    document: Mapping[str, Any] = answer.get_json(force=True)
    assert {"type", "title", "status", "detail", "instance", "request_id"} <= document.keys()
    assert document["status"] == status
    assert document["request_id"] == answer.headers["X-Request-ID"]
    if kind is not None:
        assert document["type"] == f"urn:quantum:problem:{kind}", document
    return document


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
