"""A creating request that is sent again gets its first answer again: nothing is made twice."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app.services.receipts import Receipt
from tests.support.http_api import Caller, Platform, assert_problem, echo

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


def test_a_request_in_progress_is_told_so(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request is held inside its transaction; the second must not wait for it."""
    inside, go_on = threading.Event(), threading.Event()
    from app.api import intents  # noqa: PLC0415 - patched below

    submit = intents.submit_intents

    def held(*args: Any, receipt: Receipt, **more: Any) -> Any:
        class Held:
            def open(self, connection: Any) -> None:
                receipt.open(connection)
                inside.set()
                assert go_on.wait(10)

            def close(self, connection: Any, result: Any) -> None:
                receipt.close(connection, result)

        return submit(*args, receipt=Held(), **more)

    monkeypatch.setattr(intents, "submit_intents", held)
    body = echo(labels={"test": "race"})
    answers: list[int] = []
    first = threading.Thread(
        target=lambda: answers.append(admin.post("/intents", body, Idempotency_Key="race").status_code)
    )
    first.start()
    assert inside.wait(10)
    monkeypatch.setattr(intents, "submit_intents", submit)
    assert_problem(admin.post("/intents", body, Idempotency_Key="race"), 409, "request-in-progress")
    go_on.set()
    first.join(10)
    assert answers == [202]
    assert admin.post("/intents", body, Idempotency_Key="race").headers["Idempotency-Replayed"] == "true"
    assert _intents(admin, "test=race") == 1


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
