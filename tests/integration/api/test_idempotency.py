"""A creating request that is sent again gets its first answer again: nothing is made twice."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from app.settings import Settings
from tests.support.http_api import Caller, Platform, assert_problem, echo
from tests.support.waiting import eventually

STEP = {"id": "a", "uses": "core.echo", "with": {"message": 1}}


def _intents(caller: Caller, label: str) -> int:
    return len(caller.get("/intents", label=label).get_json()["items"])


def test_a_repeat_replays_status_headers_body(admin: Caller) -> None:
    body = echo(labels={"test": "replay"})
    first = admin.post("/intents", body, Idempotency_Key="replay")
    again = admin.post("/intents", body, Idempotency_Key="replay")
    assert (first.status_code, first.data) == (again.status_code, again.data)
    assert first.headers["Location"] == again.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.headers["X-Request-ID"] != again.headers["X-Request-ID"]
    assert _intents(admin, "test=replay") == 1


def test_the_same_key_with_another_body_is_refused(admin: Caller) -> None:
    assert admin.post("/intents", echo(), Idempotency_Key="reused").status_code == 202
    answer = admin.post("/intents", echo(spec={"message": "other"}), Idempotency_Key="reused")
    problem = assert_problem(answer, 422)
    assert problem["errors"][0]["code"] == "reused"


def test_keys_are_of_one_tenant_actor_route(
    platform: Platform, tenant: tuple[str, Caller], stranger: Caller
) -> None:
    developer = platform.member(*tenant, "developer")
    ids = {
        caller.post("/intents", echo(), Idempotency_Key="scoped").get_json()["intent"]["id"]
        for caller in (tenant[1], developer, stranger)
    }
    assert len(ids) == 3
    batch = tenant[1].post("/intents:batch", {"items": [echo()]}, Idempotency_Key="scoped")
    assert batch.status_code == 200


def test_a_refused_request_leaves_the_key_free(admin: Caller) -> None:
    assert admin.post("/intents", echo(spec={}), Idempotency_Key="freed").status_code == 422
    assert admin.post("/intents", echo(), Idempotency_Key="freed").status_code == 202


@contextlib.contextmanager
def _audit_held(settings: Settings) -> Iterator[Callable[[], bool]]:
    """Let nobody write an audit record: requests stop inside their transactions; yields whether one did."""
    with contextlib.closing(psycopg2.connect(settings.database_owner_url)) as session:
        cursor = session.cursor()
        cursor.execute("LOCK TABLE audit_records IN SHARE MODE")

        def stopped() -> bool:
            cursor.execute(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted"
                " AND relation = 'audit_records'::regclass"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
            )
            return bool((cursor.fetchone() or (False,))[0])

        yield stopped


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/intents", echo(labels={"test": "race"}), 202),
        ("/users", {"email": "race@example.org", "password": "0123456789", "roles": ["viewer"]}, 201),
    ],
    ids=["one statement", "a transaction"],
)
def test_a_request_in_progress_is_told_so(
    admin: Caller, settings: Settings, path: str, body: Any, status: int
) -> None:
    """The first request is held inside its transaction; the second must not wait for it."""
    answers: list[int] = []
    first = threading.Thread(
        target=lambda: answers.append(admin.post(path, body, Idempotency_Key="race").status_code)
    )
    with _audit_held(settings) as stopped:
        first.start()
        eventually(stopped, within=10)
        assert_problem(admin.post(path, body, Idempotency_Key="race"), 409, "request-in-progress")
    first.join(10)
    assert answers == [status]
    assert admin.post(path, body, Idempotency_Key="race").headers["Idempotency-Replayed"] == "true"
    if path == "/intents":
        assert _intents(admin, "test=race") == 1


def test_an_expired_answer_gives_way(platform: Platform, admin: Caller) -> None:
    first = admin.post("/intents", echo(), Idempotency_Key="old")
    with platform.parts.platform.system() as connection:
        connection.exec_driver_sql("UPDATE idempotency_keys SET expires_at = now() WHERE key = 'old'")
    second, third = (admin.post("/intents", echo(), Idempotency_Key="old") for _ in range(2))
    assert first.data != second.data == third.data


def test_many_at_once_make_one(admin: Caller) -> None:
    barrier, answers = threading.Barrier(8), []

    def send() -> None:
        barrier.wait()
        answers.append(admin.post("/intents", echo(labels={"test": "many"}), Idempotency_Key="many"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.data for answer in answers if answer.status_code == 202}) == 1
    assert _intents(admin, "test=many") == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/users", {"email": "once@example.org", "password": "0123456789", "roles": ["viewer"]}),
        ("/workflows", {"name": "once", "version": 1, "steps": [STEP]}),
        ("/modules", {"name": "once", "version": "1.0"}),
        ("/intents:batch", {"items": [echo(), echo(spec={})]}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_creating_route_replays(admin: Caller, path: str, body: Any) -> None:
    first = admin.post(path, body, Idempotency_Key="each")
    assert first.status_code in (200, 201), first.text
    again = admin.post(path, body, Idempotency_Key="each")
    assert (again.status_code, again.data) == (first.status_code, first.data)


def test_tenants_and_repairs_replay(platform: Platform, admin: Caller) -> None:
    body = {"slug": "once", "name": "x", "admin": {"email": "a@b.org", "password": "0123456789"}}
    first = platform.root.post("/tenants", body, Idempotency_Key="t")
    assert first.status_code == 201, first.text
    assert platform.root.post("/tenants", body, Idempotency_Key="t").data == first.data
    run = admin.post("/intents", echo()).get_json()["run"]["id"]
    cancelled = admin.post(f"/runs/{run}:cancel", Idempotency_Key="c")
    assert cancelled.status_code == 202
    assert admin.post(f"/runs/{run}:cancel", Idempotency_Key="c").data == cancelled.data
    assert_problem(admin.post(f"/runs/{run}:cancel"), 409, "illegal-state")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
def test_malformed_keys(admin: Caller, key: str) -> None:
    assert_problem(admin.post("/intents", echo(), Idempotency_Key=key), 400)
