"""Every error is a problem document, whatever goes wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask
from flask_jwt_extended import create_access_token

from app.api.app import behind_proxies, create_app
from app.db.engine import Database
from app.security.tokens import CLOCKS_APART
from tests.support.http_api import PREFIX, Caller, Platform, assert_problem, echo
from tests.support.waiting import eventually

NESTED = "[" * 5000 + "]" * 5000
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, "not-found"),
        ("GET", "/runs/not-a-uuid", 404, "not-found"),
        ("GET", "/runs/01890000-0000-7000-8000-000000000000", 404, "not-found"),
        ("GET", "/secrets/a%00b", 400, "bad-request"),
        ("DELETE", "/me", 405, "method-not-allowed"),
        ("TRACE", "/runs", 405, "method-not-allowed"),
        ("GET", "/runs?limit=0", 422, "invalid-input"),
        ("GET", "/runs?limit=99999999999999999999999", 422, "invalid-input"),
        ("GET", "/runs?limit=1&limitt=2", 422, "invalid-input"),
        ("GET", "/runs?state=asleep", 422, "invalid-input"),
        ("GET", "/runs?cursor=abc.def", 422, "invalid-input"),
        ("GET", "/runs?cursor=%00", 400, "bad-request"),
        ("GET", "/runs?created_after=9999-12-31T23:59:59-14:00", 422, "invalid-input"),
        ("GET", "/events?after=9223372036854775808", 422, "invalid-input"),
    ],
)
def test_routing_and_query_errors(admin: Caller, method: str, path: str, status: int, kind: str) -> None:
    answer = admin.call(method, path)
    assert_problem(answer, status, kind)
    if status == 405:
        assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("raw", "status", "pointer"),
    [
        (b"{", 400, ""),
        (b"", 422, "/type"),
        (b"[]", 422, ""),
        (b"\xff\xfe", 400, ""),
        (b'{"type": "core.echo", "type": "core.wait", "spec": {}}', 400, ""),
        (b'{"type": "core.echo", "spec": {"message": NaN}}', 400, ""),
        (b'{"type": "core.echo", "spec": {"message": 1e999}}', 400, ""),
        (b'{"type": "core.echo", "spec": {"message": ' + b"9" * 5000 + b"}}", 400, ""),
        (b'{"type": "core.echo", "spec": {"message": "\\u0000"}}', 400, "/spec/message"),
        (b'{"type": "core.echo", "spec": {"message": {"a/b": "\\ud800"}}}', 400, "/spec/message/a~1b"),
        (b'{"type": "core.echo", "spec": {"\\u0000": 1}}', 400, "/spec"),
        (f'{{"type": "core.echo", "spec": {{"message": {NESTED}}}}}'.encode(), 400, ""),
        (f'{{"type": "core.echo", "spec": {{"message": {"[" * 70 + "]" * 70}}}}}'.encode(), 400, None),
        (b'{"type": "core.echo", "spec": {}}', 422, "/spec"),
        (b'{"type": "no.such", "spec": {}}', 422, "/type"),
        (b'{"type": "core.echo", "type_version": 99999999999, "spec": {}}', 422, "/type_version"),
        (b'{"type": "core.echo", "spec": {"message": 1}, "colour": 1}', 422, "/colour"),
        (b'{"type": "core.echo", "spec": {"message": 1}, "labels": {"A b": "x"}}', 422, "/labels/A b/key"),
        (b'{"type": "core.echo\\n", "spec": {"message": 1}}', 422, "/type"),
    ],
)
def test_bad_bodies_name_their_place(admin: Caller, raw: bytes, status: int, pointer: str | None) -> None:
    answer = admin.call("POST", "/intents", data=raw, headers=JSON)
    problem = assert_problem(answer, status)
    assert "sys." not in problem["detail"], "that is about Python"
    if pointer or (pointer is not None and status == 422):
        assert pointer in [fault["pointer"] for fault in problem["errors"]]


def test_an_escaped_backslash_is_no_nul(admin: Caller) -> None:
    body = json.dumps(echo(spec={"message": "\\u0000 \\ud800"}))
    answer = admin.call("POST", "/intents", data=body, headers=JSON)
    assert answer.status_code == 202, answer.text


def test_other_content_types_and_sizes(admin: Caller) -> None:
    assert_problem(admin.call("POST", "/intents", data=b"a=1", headers={"Content-Type": "text/plain"}), 415)
    assert_problem(admin.call("POST", "/intents", data=b"{}" + b" " * 1024 * 1024, headers=JSON), 413)
    assert_problem(
        admin.call("POST", "/workflows", data=b"x", headers={"Content-Type": "application/xml"}), 415
    )


def _forged(admin: Caller, platform: Platform, **changes: Any) -> dict[str, str]:
    claims = jwt.decode(admin.token or "", options={"verify_signature": False}) | changes
    return {
        "none": jwt.encode(claims, None, algorithm="none"),
        "other algorithm": jwt.encode(claims, "x" * 32, algorithm="HS256"),
        "other key": jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        "cut": (admin.token or "")[:-4],
        "no token": "",
    }


@pytest.mark.parametrize("fault", ["none", "other algorithm", "other key", "cut", "no token"])
def test_forged_tokens(admin: Caller, platform: Platform, fault: str) -> None:
    token = _forged(admin, platform)[fault]
    answer = Caller(platform.app, token or None).get("/me")
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_expired_tokens(admin: Caller, platform: Platform) -> None:
    claims = jwt.decode(admin.token or "", options={"verify_signature": False})
    with platform.app.app_context():
        token = create_access_token(
            claims["sub"], additional_claims={"tid": claims["tid"]}, expires_delta=timedelta(seconds=-60)
        )
    problem = assert_problem(Caller(platform.app, token).get("/me"), 401)
    assert "expired" in problem["detail"]


def test_a_remembered_token_ends_too(admin: Caller, platform: Platform) -> None:
    claims = jwt.decode(admin.token or "", options={"verify_signature": False})
    own = {name: claims[name] for name in ("tid", "sid", "tenant", "email", "roles")}
    with platform.app.app_context():
        token = create_access_token(
            claims["sub"], additional_claims=own, expires_delta=timedelta(seconds=1.5) - CLOCKS_APART
        )
    caller = Caller(platform.app, token)
    assert caller.get("/me").status_code == 200
    eventually(lambda: caller.get("/me").status_code == 401, within=5, what="the token ends")


def test_request_ids_come_back(admin: Caller) -> None:
    kept = admin.call("GET", "/me", headers={"X-Request-ID": "abc-123"})
    assert kept.headers["X-Request-ID"] == "abc-123"
    for bad in ("a b", "x" * 129, "ä"):
        replaced = admin.call("GET", "/me", headers={"X-Request-ID": bad})
        assert replaced.headers["X-Request-ID"] != bad


def test_a_crash_tells_nothing(platform: Platform, admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("app.api.runs.browse.list_runs", crash)
    answer = admin.get("/runs")
    assert_problem(answer, 500, "internal")
    assert "hunter2" not in answer.text


def test_health_and_documents_need_no_sign_in(platform: Platform) -> None:
    client = platform.app.test_client()
    assert client.get("/healthz").get_json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200, ready.text
    assert set(ready.get_json()["parts"]) == {"database", "redis", "broker"}
    assert b"quantum_api_requests_total" in client.get("/metrics").data
    document = client.get(f"{PREFIX}/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    for page in ("docs", "docs/docs.js", "docs/docs.css"):
        answer = client.get(f"{PREFIX}/{page}")
        assert answer.status_code == 200
        assert "http://" not in answer.text
        assert "https://" not in answer.text


def test_without_a_database_nothing_fails_open(platform: Platform, admin: Caller) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/nothing")
    probes = {**platform.parts.probes, "database": lambda: away.call("SELECT 1")}
    app = create_app(replace(platform.parts, database=away, probes=probes))
    answer = Caller(app, admin.token).get("/runs")
    assert_problem(answer, 503, "unavailable")
    assert answer.headers["Retry-After"] == "1"
    # Sign-in counts its attempts before it looks at them: where it cannot count, nobody comes in.
    body = {"tenant": "x", "email": "a@example.org", "password": "guess"}
    assert_problem(Caller(app).post("/auth/token", body), 503)
    ready = app.test_client().get("/readyz")
    assert ready.status_code == 503
    assert ready.get_json()["parts"]["database"].startswith("down")


def test_only_a_trusted_proxy_tells_the_address(platform: Platform, admin: Caller) -> None:
    def seen(app: Flask) -> str:
        headers = {"X-Forwarded-For": "203.0.113.7"}
        made = Caller(app, admin.token).call("PUT", "/secrets/SEEN", json={"value": "x"}, headers=headers)
        assert made.status_code == 200
        record = admin.get("/audit", action="secret.put", limit=1).get_json()["items"][0]
        return str(record["source_ip"])

    assert seen(platform.app) == "127.0.0.1"
    assert seen(behind_proxies(create_app(platform.parts), 1)) == "203.0.113.7"
