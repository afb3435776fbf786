"""Lists: stable pages, signed cursors, exact filters, other tenants' rows never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.http_api import Caller, Platform, assert_problem, echo


@pytest.fixture(scope="module")
def made(admin: Caller) -> dict[str, str]:
    """25 intents, latest first: the value of the label `n` by id."""
    items = [echo(labels={"n": str(n), "odd": str(n % 2)}) for n in range(25)]
    answer = admin.post("/intents:batch", {"items": items}).get_json()
    assert answer["accepted"] == 25
    by_id = {item["intent"]["id"]: str(n) for n, item in enumerate(answer["items"])}
    # Identifiers made within one millisecond are not ordered among each other; lists follow the identifier.
    return dict(sorted(by_id.items(), reverse=True))


def _pages(caller: Caller, path: str, limit: int, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    for _ in range(100):
        page = caller.get(path, limit=limit, **({"cursor": cursor} if cursor else {}), **query).get_json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the list never ends")


def test_pages_are_stable_while_rows_arrive(admin: Caller, made: dict[str, str]) -> None:
    first = admin.get("/intents", limit=10, label="n").get_json()
    admin.post("/intents", echo(labels={"n": "late"}))
    rest: list[str] = []
    cursor = first["next_cursor"]
    while cursor:
        page = admin.get("/intents", limit=10, label="n", cursor=cursor).get_json()
        rest += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert [item["id"] for item in first["items"]] + rest == list(made)


def test_filters(admin: Caller, made: dict[str, str]) -> None:
    odd_ones = [each for each, n in made.items() if int(n) % 2]
    odd = _pages(admin, "/intents", 4, label="odd=1")
    assert [item["id"] for item in odd] == odd_ones
    assert _pages(admin, "/intents", 50, type="bench.chain") == []
    assert len(_pages(admin, "/intents", 50, phase="pending", label="odd=0")) == 13
    runs = _pages(admin, "/runs", 7, label="odd=1")
    assert {run["intent_id"] for run in runs} == set(odd_ones)
    assert len(_pages(admin, "/runs", 50, intent_id=odd_ones[0])) == 1
    run = runs[0]["id"]
    admin.post(f"/runs/{run}:cancel")
    assert [each["id"] for each in _pages(admin, "/runs", 50, state="cancelled", label="n")] == [run]
    assert _pages(admin, "/runs", 50, type="core.echo", state="failed") == []


def test_filters_by_time(admin: Caller, made: dict[str, str]) -> None:
    some = list(made)[10]
    at = admin.get(f"/intents/{some}").get_json()["created_at"]
    later = _pages(admin, "/intents", 50, created_after=at, label="n")
    earlier = _pages(admin, "/intents", 50, created_before=at, label="n")
    assert some not in {item["id"] for item in later + earlier}
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert len(_pages(admin, "/runs", 50, created_before=soon, label="n")) >= 25
    assert _pages(admin, "/runs", 50, created_after=soon) == []


def test_cursors_belong_to_one_list(admin: Caller, stranger: Caller, made: dict[str, str]) -> None:
    cursor = admin.get("/intents", limit=1).get_json()["next_cursor"]
    assert admin.get("/intents", cursor=cursor).status_code == 200
    for caller, path in ((stranger, "/intents"), (admin, "/runs"), (admin, "/audit")):
        assert_problem(caller.get(path, cursor=cursor), 422)
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    assert_problem(admin.get("/intents", cursor=changed), 422)


def test_merged_lists_page_through_built_in_and_own(admin: Caller) -> None:
    step = {"id": "a", "uses": "core.echo", "with": {"message": 1}}
    for name, version in (("aaa.own", 1), ("core.own", 2), ("core.own", 1), ("zzz.own", 1)):
        body = {"name": name, "version": version, "steps": [step]}
        assert admin.post("/workflows", body).status_code == 201
    listed = [(item["name"], item["version"]) for item in _pages(admin, "/workflows", 3)]
    assert listed == sorted(set(listed))
    own = {("aaa.own", 1), ("core.own", 1), ("core.own", 2), ("zzz.own", 1)}
    assert own | {("core.echo", 1)} <= set(listed)
    assert [item["version"] for item in _pages(admin, "/workflows", 1, name="core.own")] == [1, 2]
    assert admin.get("/workflows/core.own").get_json()["version"] == 2
    assert admin.get("/workflows/core.own/versions/1").get_json()["version"] == 1
    assert_problem(admin.get("/workflows/core.own/versions/3"), 404)
    for path in ("/modules", "/intent_types", "/users", "/secrets", "/audit"):
        assert len(_pages(admin, path, 2)) == len(_pages(admin, path, 200)), path


def test_other_tenants_rows_do_not_exist(
    platform: Platform, admin: Caller, stranger: Caller, made: dict[str, str]
) -> None:
    intent = next(iter(made))
    run = admin.get("/runs", intent_id=intent).get_json()["items"][0]["id"]
    step = admin.get(f"/runs/{run}").get_json()["steps"][0]["key"]
    user = admin.get("/me").get_json()["user_id"]
    admin.put("/secrets/MINE", {"value": "x"})
    paths = [
        f"/intents/{intent}",
        f"/intents/{intent}/generations",
        f"/runs/{run}",
        f"/runs/{run}/steps",
        f"/runs/{run}/steps/{step}",
        f"/users/{user}",
    ]
    for path in paths:
        assert admin.get(path).status_code == 200, path
        for outsider in (stranger, platform.root):
            assert outsider.get(path).status_code in (404, 403), path
        assert_problem(stranger.get(path), 404, "not-found")
    for action in ("retry", "cancel"):
        assert_problem(stranger.post(f"/runs/{run}:{action}"), 404)
    assert_problem(stranger.patch(f"/users/{user}", {"display_name": "x"}, If_Match="*"), 404)
    assert_problem(stranger.delete("/secrets/MINE"), 404)
    for path in ("/intents", "/runs", "/secrets"):
        assert stranger.get(path).get_json()["items"] == [], path
    mine = {item["id"] for item in _pages(admin, "/audit", 200)}
    assert mine.isdisjoint(item["id"] for item in _pages(stranger, "/audit", 200))
