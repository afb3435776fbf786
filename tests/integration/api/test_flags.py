"""Flags through the API: rules, overrides, the kill switch, who is told."""

from __future__ import annotations

import threading
from uuid import UUID

import pytest

from app.db.flags import FlagStore
from app.domain.errors import Unavailable
from app.domain.flags import FLAGS
from app.services.flags import KEPT_S, Flags, RuleBook, Rules
from tests.support.http_api import Caller, Platform, assert_problem

BULK = {"action": "cancel", "filter": {}, "limit": 1}
FLAG = "/platform/flags/bulk_actions"


@pytest.fixture(autouse=True)
def _as_declared(platform: Platform) -> None:
    """Each test begins with the declared defaults, nothing remembered."""
    platform.parts.platform.call("DELETE FROM flag_overrides")
    platform.parts.platform.call("DELETE FROM feature_flags")
    forget(platform)


def forget(platform: Platform) -> None:
    """Let every tenant's rules be read again, as they are after 5 seconds."""
    object.__setattr__(platform.parts, "flags", Flags(RuleBook(FlagStore(platform.parts.database))))


def change(platform: Platform, **rule: object) -> None:
    tag = platform.root.get(FLAG).headers["ETag"]
    changed = platform.root.put(FLAG, {"reason": "seen in a test", **rule}, If_Match=tag)
    assert changed.status_code == 200, changed.text
    forget(platform)


def test_a_killed_feature_is_refused_to_everybody_then_works_again(
    platform: Platform, admin: Caller, stranger: Caller
) -> None:
    assert admin.post("/bulk-actions", BULK).status_code == 202
    change(platform, killed=True, percentage=100)
    for caller in (admin, stranger):
        refused = assert_problem(caller.post("/bulk-actions", BULK), 503, "switched-off")
        assert "switched off" in refused["detail"]
        assert caller.get("/flags").get_json()["flags"]["bulk_actions"] is False
    change(platform)
    assert admin.post("/bulk-actions", BULK).status_code == 202


def test_an_override_holds_for_its_tenant_only_and_both_sides_are_told(
    platform: Platform, admin: Caller, stranger: Caller
) -> None:
    change(platform, percentage=0)
    place = f"{FLAG}/tenants/{admin.tenant_id}"
    said = platform.root.put(place, {"enabled": True, "reason": "first customer"})
    assert said.status_code == 200, said.text
    assert [each["tenant_id"] for each in said.get_json()["overrides"]] == [admin.tenant_id]
    forget(platform)
    assert admin.get("/flags").get_json()["flags"]["bulk_actions"] is True
    assert stranger.get("/flags").get_json()["flags"]["bulk_actions"] is False
    for caller in (admin, platform.root):
        [record] = caller.get("/audit", action="flag.override").get_json()["items"][:1]
        assert record["detail"] == {"tenant_id": admin.tenant_id, "enabled": True, "reason": "first customer"}
    assert platform.root.put(place, {"enabled": None, "reason": "over"}).get_json()["overrides"] == []
    forget(platform)
    assert admin.get("/flags").get_json()["flags"]["bulk_actions"] is False


def test_a_change_names_the_version_it_is_based_on(platform: Platform) -> None:
    body = {"percentage": 10, "reason": "r"}
    assert_problem(platform.root.put(FLAG, body), 428)
    tag = platform.root.get(FLAG).headers["ETag"]
    assert platform.root.put(FLAG, body, If_Match=tag).get_json()["percentage"] == 10
    assert_problem(platform.root.put(FLAG, body, If_Match=tag), 412)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": ""}, "/reason"),
        ({}, "/reason"),
        ({"reason": "r", "percentage": 101}, "/percentage"),
        ({"reason": "r", "killed": "maybe"}, "/killed"),
        ({"reason": "r", "colour": 1}, "/colour"),
    ],
)
def test_bad_rules_are_refused(platform: Platform, body: dict[str, object], pointer: str) -> None:
    refused = assert_problem(platform.root.put(FLAG, body, If_Match="*"), 422)
    assert refused["errors"][0]["pointer"] == pointer


def test_unknown_flags_and_tenants_are_not_found(platform: Platform) -> None:
    assert_problem(platform.root.get("/platform/flags/nonsense"), 404)
    assert_problem(platform.root.put("/platform/flags/nonsense", {"reason": "r"}, If_Match="*"), 404)
    place = f"{FLAG}/tenants/{UUID(int=1)}"
    assert_problem(platform.root.put(place, {"enabled": True, "reason": "r"}), 404)


def test_two_who_change_at_once_do_not_overwrite_each_other(platform: Platform) -> None:
    tag = platform.root.get(FLAG).headers["ETag"]
    barrier = threading.Barrier(4)
    answers: list[int] = []

    def race(share: int) -> None:
        barrier.wait()
        answers.append(
            platform.root.put(FLAG, {"percentage": share, "reason": "r"}, If_Match=tag).status_code
        )

    threads = [threading.Thread(target=race, args=(share,)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200, 412, 412, 412]


class Away:
    """A store that answers once, then is away."""

    def __init__(self, rules: Rules) -> None:
        self.rules_then = rules
        self.asked = 0

    def rules(self, tenant_id: UUID) -> Rules:
        self.asked += 1
        if self.asked > 1:
            raise Unavailable("database")
        return self.rules_then


def test_while_the_database_is_away_the_last_rules_hold(platform: Platform, admin: Caller) -> None:
    change(platform, killed=True)
    store = FlagStore(platform.parts.database)
    tenant_id = UUID(admin.tenant_id)
    now = [0.0]
    away = Away(store.rules(tenant_id))
    book = RuleBook(away, lambda: now[0])
    assert book.decide("bulk_actions", tenant_id).on is False
    now[0] = KEPT_S / 2
    book.decide("bulk_actions", tenant_id)
    assert away.asked == 1
    now[0] = KEPT_S * 2
    assert book.decide("bulk_actions", tenant_id).on is False
    assert away.asked == 2
    assert book.decide("bulk_actions", UUID(int=9)).on is FLAGS["bulk_actions"].default


def test_a_flag_that_is_not_declared_is_an_error_of_the_code(platform: Platform, admin: Caller) -> None:
    with pytest.raises(LookupError):
        platform.parts.flags.on("nonsense", UUID(admin.tenant_id))
