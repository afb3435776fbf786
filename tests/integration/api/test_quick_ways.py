"""How often a request asks the servers: each trip costs more than all the rest of it."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import event

from app.api.app import create_app
from app.api.limits import TenantLimits
from app.api.schemas.intents import AcceptedSchema, BatchAnswerSchema
from app.db import engine
from app.domain.errors import RateLimited
from app.services.standing import Standings
from tests.support.http_api import Caller, Platform, echo

Trips = list[str]


@pytest.fixture(scope="module")
def caller(platform: Platform, admin: Caller) -> Caller:
    """The tenant's administrator, whose standing is looked up once: that look-up is not counted here."""
    standings = Standings(platform.parts.database, clock=lambda: 0.0)
    caller = Caller(create_app(replace(platform.parts, standings=standings)), admin.token)
    assert caller.get("/me").status_code == 200
    return caller


@pytest.fixture
def trips(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trips]:
    """The statements that requests send from now on; what other threads ask (sender, bell) is not theirs."""
    seen: Trips = []
    mine = threading.get_ident()
    call, rows = engine.Database.call, engine.Reader.rows

    def counted_call(self: Any, statement: str, *values: Any) -> Any:
        if self is platform.parts.database and threading.get_ident() == mine:
            seen.append(statement)
        return call(self, statement, *values)

    def counted_rows(self: Any, statement: str, values: Any) -> Any:
        seen.append(statement)
        return rows(self, statement, values)

    def counted(_c: Any, _k: Any, statement: str, _p: Any, _x: Any, _m: Any) -> None:
        seen.append(statement)

    monkeypatch.setattr(engine.Database, "call", counted_call)
    monkeypatch.setattr(engine.Reader, "rows", counted_rows)
    sqlalchemy = platform.parts.database.engine
    event.listen(sqlalchemy, "before_cursor_execute", counted)
    yield seen
    event.remove(sqlalchemy, "before_cursor_execute", counted)


def test_a_submission_is_one_statement(caller: Caller, trips: Trips) -> None:
    assert caller.post("/intents", echo()).status_code == 202  # the first one registers the plan
    for headers in ({}, {"Idempotency_Key": "one"}, {"Idempotency_Key": "one"}):
        trips.clear()
        assert caller.post("/intents", echo(), **headers).status_code == 202
        assert [trip.partition("FROM ")[2].partition("(")[0] for trip in trips] == ["accept_intents"]
    trips.clear()
    assert caller.post("/intents:batch", {"items": [echo()] * 5}).get_json()["accepted"] == 5
    assert len(trips) == 1


def test_answers_that_no_schema_dumped_are_what_the_schemas_say(caller: Caller) -> None:
    """Loading raises for a member that is missing, or that no schema knows."""
    AcceptedSchema().load(caller.post("/intents", echo()).get_json())
    answer = caller.post("/intents:batch", {"items": [echo(), {"type": "no.such", "spec": {}}]}).get_json()
    BatchAnswerSchema().load(answer)
    assert [sorted(item) for item in answer["items"]] == [
        ["index", "intent", "run", "status"],
        ["index", "problem", "status"],
    ]


def test_an_item_of_a_batch_is_few_calls_of_python(caller: Caller) -> None:
    """The interpreter is what a process takes in by: calls do not depend on the load, as times do."""
    few, many = (calls_of(caller, {"items": [echo()] * items}) for items in (100, 300))
    assert (many - few) / 200 <= 40


def calls_of(caller: Caller, batch: dict[str, Any]) -> int:
    seen = itertools.count()
    sys.setprofile(lambda _frame, kind, _argument: next(seen) if kind == "call" else None)
    try:
        assert caller.post("/intents:batch", batch).status_code == 200
    finally:
        sys.setprofile(None)
    return next(seen)


def test_a_read_is_few_statements(caller: Caller, trips: Trips) -> None:
    made = caller.post("/intents", echo()).get_json()
    first = caller.get(f"/runs/{made['run']['id']}").get_json()
    for path, most in (
        (f"/runs/{made['run']['id']}", 2),
        (f"/intents/{made['intent']['id']}", 1),
        ("/runs", 1),
        ("/intents", 1),
    ):
        trips.clear()
        assert caller.get(path).status_code == 200
        assert len(trips) <= most, (path, trips)
    assert first["steps"][0]["needs"] == []


def test_the_limit_is_exact_when_counted_ahead(redis_url: str) -> None:
    """Two processes count one tenant's requests, some ahead; no more than the limit pass, few less."""
    tenant, processes = uuid4(), [TenantLimits(redis_url, 2_000) for _ in range(2)]
    passed = 0
    for n in range(2_100):
        try:
            processes[n % 2].check(tenant)
        except RateLimited:
            continue
        passed += 1
    assert passed == 2_000
