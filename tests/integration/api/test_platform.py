"""The operators' routes: compare-with-set, audited once, told in every answer."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.db import workers
from app.services.maintenance import KEPT_S
from tests.support.http_api import Caller, Platform, assert_problem, echo
from tests.support.waiting import eventually


@pytest.fixture
def name(platform: Platform) -> str:
    """A worker that has beaten once, of an older release."""
    name = f"w{uuid4().hex[:8]}@host"
    workers.beat(platform.parts.platform, uuid4(), name, 1, "0.9", ("default",), [])
    return name


def audited(caller: Caller, action: str) -> list[dict[str, object]]:
    found = caller.get("/audit", action=action, limit=200).get_json()["items"]
    return [each["detail"] for each in found]


def test_an_order_is_compared_and_set_audited_and_idempotent(platform: Platform, name: str) -> None:
    path = f"/platform/workers/{name}/order"
    assert_problem(platform.root.patch(path, {"state": "draining"}), 428)
    tag = platform.root.get(path).headers["ETag"]
    first = platform.root.patch(path, {"state": "draining", "reason": "x"}, If_Match=tag)
    assert (first.status_code, first.get_json()["state"], first.headers["ETag"]) == (200, "draining", '"v1"')
    assert_problem(platform.root.patch(path, {"state": "active"}, If_Match=tag), 412)
    again = platform.root.patch(path, {"state": "draining"}, If_Match='"v1"')
    assert again.get_json() == first.get_json()
    sized = platform.root.patch(path, {"pool_size": 3}, If_Match='"v1"').get_json()
    assert (sized["state"], sized["pool_size"], sized["version"]) == ("draining", 3, 2)
    of_mine = [each for each in audited(platform.root, "worker.order") if each["reason"] == "x"]
    assert len(of_mine) == 2
    assert_problem(platform.root.patch("/platform/workers/typo@host/order", {}, If_Match="*"), 404)


def test_workers_are_listed_page_by_page_with_what_is_ordered_of_them(platform: Platform, name: str) -> None:
    platform.root.patch(f"/platform/workers/{name}/order", {"pool_size": 2}, If_Match="*")
    workers.beat(platform.parts.platform, uuid4(), name, 2, platform.parts.release, ("default",), [])
    seen, cursor = [], {}
    while True:
        page = platform.root.get("/platform/workers", limit=1, **cursor).get_json()
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    mine = [each for each in seen if each["name"] == name]
    assert {(each["version"], each["skewed"]) for each in mine} == {
        ("0.9", True),
        (platform.parts.release, False),
    }
    assert {each["order"]["pool_size"] for each in mine} == {2}
    assert {each["lost"] for each in mine} == {False}
    platform.parts.platform.call("UPDATE workers SET state = 'dead' WHERE hostname = %s", (name,))
    found = platform.root.get("/platform/workers", limit=200).get_json()["items"]
    assert [each["pid"] for each in found if each["name"] == name and each["lost"]] == [2]


def test_maintenance_is_told_in_every_answer_and_accepts_work(
    platform: Platform, tenant: tuple[str, Caller]
) -> None:
    path = "/platform/maintenance"
    tag = platform.root.get(path).headers["ETag"]
    on = platform.root.put(path, {"active": True, "reason": "upgrade"}, If_Match=tag)
    assert (on.get_json()["active"], on.get_json()["since"] is not None) == (True, True)
    assert_problem(platform.root.put(path, {"active": False}, If_Match=tag), 412)
    assert (
        platform.root.put(path, {"active": True, "reason": "upgrade"}, If_Match="*").headers["ETag"]
        == (on.headers["ETag"])
    )
    member = tenant[1]
    eventually(lambda: member.get("/me").headers.get("Quantum-Maintenance") == "on", within=KEPT_S * 5 + 5)
    made = member.post("/intents", echo())
    assert (made.status_code, made.get_json()["run"]["state"]) == (202, "queued")
    explained = member.get(f"/runs/{made.get_json()['run']['id']}/explain").get_json()
    assert [each["code"] for each in explained["reasons"]] == ["maintenance"]
    assert {each["code"] for each in explained["steps"]} == {"maintenance"}
    off = platform.root.put(path, {"active": False}, If_Match=on.headers["ETag"])
    assert (off.get_json()["active"], off.get_json()["since"]) == (False, None)
    eventually(lambda: "Quantum-Maintenance" not in member.get("/me").headers, within=KEPT_S * 5 + 5)
    assert [each["active"] for each in audited(platform.root, "platform.maintenance")] == [False, True]


def test_the_queues_are_told(platform: Platform, tenant: tuple[str, Caller]) -> None:
    tenant[1].post("/intents", echo())
    found = {each["queue"]: each for each in platform.root.get("/platform/queues").get_json()["items"]}
    assert found["default"]["depth"] is not None
    assert sum(found["default"][name] for name in ("sent", "unsent", "waiting_runs")) >= 1
