"""`http.request` against a local server that the operator allowed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from app.domain.breakers import BreakerRules
from app.domain.errors import Deferred, OperationFailed
from app.observability.breakers import Guards
from app.observability.masking import MASK
from app.runtime.ports import free_port
from tasks.operations import http
from tests.support.http_target import http_target
from tests.support.operation_context import context


@pytest.fixture
def server():
    with http_target(lambda _: (200, {"Content-Type": "application/json"}, b'{"a": [1]}')) as target:
        yield target


def ask(server, path="/", **given):
    return http.request(context(targets=(server.name,)), url=server.url + path, **given)


def test_json_goes_out_and_comes_back(server):
    server.reply = lambda seen: (201, {"Content-Type": "application/json", "Set-Cookie": "id=1"}, seen.body)
    found = ask(server, "/things?q=1", method="POST", json={"name": "ü\0"}, headers={"X-Trace": "t"})
    assert found["json"] == {"name": "ü\N{REPLACEMENT CHARACTER}"}
    assert (found["status"], found["headers"]["set-cookie"]) == (201, MASK)
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["host"]) == ("POST", "/things?q=1", server.name)
    assert seen.headers["idempotency-key"] == context().idempotency_key
    assert (seen.headers["content-type"], seen.headers["x-trace"]) == ("application/json", "t")


def test_a_private_target_is_refused_unless_allowed(server):
    with pytest.raises(OperationFailed) as failure:
        http.request(context(), url=server.url)
    assert (failure.value.code, failure.value.retryable) == ("target_refused", False)
    assert server.seen == []


def test_a_redirect_to_a_private_target_is_refused(server):
    with http_target(lambda _: (200, {}, b"inside")) as inner:
        server.reply = lambda _: (302, {"Location": f"{inner.url}/admin"}, b"")
        with pytest.raises(OperationFailed) as failure:
            ask(server)
        assert failure.value.code == "target_refused"
        assert inner.seen == []


def test_the_judged_address_is_the_one_connected_to(server):
    """DNS rebinding: the second answer of the resolver would be refused, so it must never be asked for."""
    answers = iter([("8.8.8.8",), ("127.0.0.1",)])
    made = http.check_target("http://rebind.example/", (), lambda *_: next(answers))
    assert made.address == "8.8.8.8"
    calls: list[str] = []

    def resolve(host, _port):
        calls.append(host)
        return ("127.0.0.1",)

    call = http.Call("GET", f"http://named.example:{server.port}/", {}, None, time.monotonic() + 5, 1000)
    answer = http.follow(context(targets=(f"named.example:{server.port}",)), call, resolve)
    assert (answer.status, calls) == (200, ["named.example"])
    assert server.seen[0].headers["host"] == f"named.example:{server.port}"


def test_credentials_stay_with_their_origin(server):
    with http_target(lambda _: (200, {}, b"ok")) as other:
        server.reply = lambda seen: (
            (307, {"Location": "/two"}, b"") if seen.path == "/" else (302, {"Location": other.url}, b"")
        )
        reach = context(targets=(server.name, other.name))
        http.request(
            reach, url=server.url, headers={"Authorization": "Bearer x", "X-Key": "k", "Accept": "a/b"}
        )
        assert server.seen[1].headers["authorization"] == "Bearer x"
        (seen,) = other.seen
        assert not {"authorization", "x-key", "idempotency-key"} & seen.headers.keys()
        assert seen.headers["accept"] == "a/b"
        server.reply = lambda _: (308, {"Location": other.url}, b"")
        with pytest.raises(OperationFailed, match="body may not follow"):
            http.request(reach, url=server.url, method="POST", json={"secret": 1})


def test_redirects_are_bounded(server):
    server.reply = lambda _: (302, {"Location": "/again"}, b"")
    with pytest.raises(OperationFailed, match="more than 5 redirects"):
        ask(server)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    ("status", "headers", "retryable", "pause"),
    [
        (500, {}, True, None),
        (503, {"Retry-After": "7"}, True, 7.0),
        (429, {"Retry-After": "999999"}, True, 3600.0),
        (404, {"Retry-After": "7"}, False, None),
        (400, {}, False, None),
    ],
)
def test_statuses_decide_whether_a_repeat_may_help(server, status, headers, retryable, pause):
    server.reply = lambda _: (status, headers, b"broken")
    with pytest.raises(OperationFailed) as failure:
        ask(server)
    assert (failure.value.retryable, failure.value.detail.get("retry_after_s")) == (retryable, pause)
    assert (failure.value.detail["status"], failure.value.detail["excerpt"]) == (status, "broken")
    assert ask(server, expect_status=[status])["text"] == "broken"


def test_retry_after_may_be_a_date():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert http.retry_after_s("Thu, 01 Jan 2026 00:00:09 GMT", now) == 9
    assert http.retry_after_s("yesterday", now) is None
    assert http.retry_after_s("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", now) is None


def test_an_answer_beyond_the_cap_is_refused(server):
    server.reply = lambda _: (200, {}, b"x" * 101)
    with pytest.raises(OperationFailed) as failure:
        ask(server, max_bytes=100)
    assert (failure.value.code, failure.value.retryable) == ("answer_too_large", False)
    assert ask(server, max_bytes=101)["bytes"] == 101


def test_nobody_listening_is_retryable(server):
    with http_target(lambda _: (200, {}, b"")) as gone:
        pass
    with pytest.raises(OperationFailed) as failure:
        ask(gone)
    assert (failure.value.code, failure.value.retryable) == ("unreachable", True)


def test_a_slow_answer_times_out(server):
    server.reply = lambda _: (
        200,
        {"Content-Length": "10"},
        b"part",
    )  # the rest never comes, the line stays open
    started = time.monotonic()
    with pytest.raises(OperationFailed) as failure:
        ask(server, timeout_s=0.3)
    assert (failure.value.code, failure.value.retryable) == ("timed_out", True)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "headers", [{"Host": "x"}, {"a b": "x"}, {"X": "a\r\nY: b"}, {"Content-Length": "1"}]
)
def test_headers_that_could_split_a_request_are_refused(server, headers):
    with pytest.raises(OperationFailed) as failure:
        ask(server, headers=headers)
    assert failure.value.code == "bad_header"
    assert server.seen == []


@pytest.mark.parametrize("body", [b"{", b"NaN", b"[" * 100_000, b"\xff"])
def test_json_that_is_none_is_an_error(server, body):
    server.reply = lambda _: (200, {"Content-Type": "application/problem+json"}, body)
    with pytest.raises(OperationFailed) as failure:
        ask(server)
    assert (failure.value.code, failure.value.retryable) == ("bad_json", False)


def test_a_cancelled_run_sends_nothing(server):
    with pytest.raises(OperationFailed) as failure:
        http.request(context(targets=(server.name,), cancelled=lambda: True), url=server.url)
    assert failure.value.code == "cancelled"
    assert server.seen == []
    assert json.dumps(failure.value.as_error())


def test_a_host_that_gives_no_answers_is_left_alone_for_its_tenant(monkeypatch):
    now = [0.0]
    rules = BreakerRules(failures=2, first_s=40.0)
    monkeypatch.setattr(http, "HOSTS", Guards("http", rules, most=10, clock=lambda: now[0]))
    place = f"127.0.0.1:{free_port()}"
    mine = context(targets=(place,))
    others = replace(mine, tenant_id=UUID(int=9))

    def code(who):
        with pytest.raises(OperationFailed) as failure:
            http.request(who, url=f"http://{place}/")
        return failure.value

    assert [code(mine).code for _ in range(3)] == ["unreachable", "unreachable", "host_left_alone"]
    put_off = code(mine)
    assert isinstance(put_off, Deferred)
    assert put_off.detail == {"deferred": True, "retry_after_s": 30.0}
    assert code(others).code == "unreachable", "another tenant asks for itself"
    now[0] = 50.0
    assert [code(mine).code for _ in range(2)] == ["unreachable", "host_left_alone"], "one asks"


def test_a_host_that_answers_is_there_whatever_it_answers(server, monkeypatch):
    monkeypatch.setattr(http, "HOSTS", Guards("http", BreakerRules(failures=1), most=10))
    server.reply = lambda _: (503, {}, b"")
    for _ in range(3):
        with pytest.raises(OperationFailed) as failure:
            ask(server)
        assert failure.value.code == "unexpected_status"
