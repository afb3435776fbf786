"""Log levels through the API: compared with set, audited, ended by themselves."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from app.db.log_levels import levels_now
from app.domain.log_levels import MOST
from tests.support.http_api import Platform, assert_problem
from tests.support.waiting import eventually

RELAY = "/platform/log-levels/app.services.relay"


@pytest.fixture(autouse=True)
def _as_started(platform: Platform) -> None:
    platform.parts.platform.call("DELETE FROM log_levels")


def put(platform: Platform, path: str, **body: Any) -> Any:
    tag = platform.root.get(path).headers["ETag"]
    answer = platform.root.put(path, body, If_Match=tag)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def test_a_level_is_compared_and_set_audited_and_idempotent(platform: Platform) -> None:
    assert platform.root.get(RELAY).get_json() == {
        "module": "app.services.relay",
        "level": None,
        "ends_at": None,
        "in_force": False,
        "reason": "",
        "changed_by": "",
        "version": 0,
        "updated_at": None,
    }
    assert_problem(platform.root.put(RELAY, {"level": "DEBUG"}), 428)
    first = put(platform, RELAY, level="DEBUG", reason="slow sink")
    assert (first["level"], first["in_force"], first["version"]) == ("DEBUG", True, 1)
    assert_problem(platform.root.put(RELAY, {"level": "INFO"}, If_Match='"v0"'), 412)
    assert put(platform, RELAY, level="DEBUG")["version"] == 1, "what holds already is no change"
    listed = platform.root.get("/platform/log-levels").get_json()["items"]
    assert [(each["module"], each["level"]) for each in listed] == [("app.services.relay", "DEBUG")]
    assert put(platform, RELAY, level=None)["in_force"] is False
    assert put(platform, RELAY, level=None)["version"] == 2
    assert platform.root.get("/platform/log-levels").get_json()["items"] == []
    records = platform.root.get("/audit", action="log_level.set", limit=2).get_json()["items"]
    assert [each["detail"]["level"] for each in records] == [None, "DEBUG"]


def test_a_level_ends_by_itself(platform: Platform) -> None:
    assert put(platform, RELAY, level="DEBUG", **{"for": "PT1S"})["in_force"] is True
    [now] = levels_now(platform.parts.database)
    assert (now.module, now.level) == ("app.services.relay", "DEBUG")
    assert now.left_s is not None
    assert 0 < now.left_s <= 1
    eventually(lambda: not levels_now(platform.parts.database), within=10)
    assert platform.root.get(RELAY).get_json()["in_force"] is False
    assert put(platform, RELAY, level="DEBUG")["ends_at"] is None


@pytest.mark.parametrize(
    ("module", "body", "pointer"),
    [
        ("app.services.relay", {"level": "LOUD"}, "/level"),
        ("app.services.relay", {}, "/level"),
        ("app.services.relay", {"level": "DEBUG", "for": "an hour"}, "/for"),
        ("app.services.relay", {"level": "DEBUG", "for": 0}, "/for"),
        ("app.services.relay", {"level": "DEBUG", "for": True}, "/for"),
        ("app.services.relay", {"level": "DEBUG", "colour": 1}, "/colour"),
        ("sqlalchemy.engine", {"level": "INFO"}, "/level"),
        ("urllib3", {"level": "DEBUG"}, "/level"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(
    platform: Platform, module: str, body: dict[str, Any], pointer: str
) -> None:
    refused = assert_problem(platform.root.put(f"/platform/log-levels/{module}", body, If_Match="*"), 422)
    assert refused["errors"][0]["pointer"] == pointer


def test_libraries_may_say_less_and_modules_of_others_have_any_name(platform: Platform) -> None:
    assert put(platform, "/platform/log-levels/sqlalchemy", level="ERROR")["in_force"]
    assert put(platform, "/platform/log-levels/acme_operations.disks", level="DEBUG")["in_force"]


def test_a_mistyped_name_of_ours_is_not_found(platform: Platform) -> None:
    for name in ("app.service.relay", "app.services.relay.deeper", "tasks..", "not-a-name"):
        assert_problem(platform.root.get(f"/platform/log-levels/{name}"), 404)
    assert platform.root.get("/platform/log-levels/app.services").status_code == 200
    assert platform.root.get("/platform/log-levels/tasks.beat").status_code == 200


def test_the_number_of_levels_is_bounded(platform: Platform) -> None:
    for number in range(MOST):
        platform.parts.platform.call(
            "INSERT INTO log_levels (module, level) VALUES (%s, 'INFO')", (f"m{number}_{uuid4().hex[:6]}",)
        )
    assert_problem(platform.root.put(RELAY, {"level": "DEBUG"}, If_Match="*"), 409)
