"""Changes name the version they are based on."""

from __future__ import annotations

import threading

import pytest

from tests.support.http_api import Caller, Platform, assert_problem, echo


@pytest.fixture(scope="module")
def user(platform: Platform, tenant: tuple[str, Caller]) -> str:
    """The path of a user."""
    member = platform.member(*tenant, "viewer")
    return f"/users/{member.get('/me').get_json()['user_id']}"


def test_if_match_guards_a_user(admin: Caller, user: str) -> None:
    tag = admin.get(user).headers["ETag"]
    assert_problem(admin.patch(user, {"display_name": "A"}), 428, "precondition-required")
    assert_problem(admin.patch(user, {"display_name": "A"}, If_Match='"v999"'), 412)
    assert_problem(admin.patch(user, {"display_name": "A"}, If_Match="v1"), 400)
    changed = admin.patch(user, {"display_name": "A"}, If_Match=tag)
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    assert_problem(admin.patch(user, {"display_name": "B"}, If_Match=tag), 412)
    assert admin.get(user).get_json()["display_name"] == "A"


def test_of_two_changes_on_one_version_one_wins(admin: Caller, user: str) -> None:
    tag = admin.get(user).headers["ETag"]
    barrier, seen = threading.Barrier(4), []

    def change(name: str) -> None:
        barrier.wait()
        seen.append(admin.patch(user, {"display_name": name}, If_Match=tag).status_code)

    threads = [threading.Thread(target=change, args=(f"n{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [200, 412, 412, 412]


def test_if_match_guards_a_tenant(platform: Platform, stranger: Caller) -> None:
    path = f"/tenants/{stranger.tenant_id}"
    tag = platform.root.get(path).headers["ETag"]
    assert_problem(platform.root.patch(path, {"name": "N"}), 428)
    changed = platform.root.patch(path, {"name": "N", "settings": {"a": 1}}, If_Match=tag)
    assert changed.get_json()["settings"] == {"a": 1}
    assert_problem(platform.root.patch(path, {"name": "O"}, If_Match=tag), 412)


def test_if_match_may_guard_secrets_and_repairs(admin: Caller) -> None:
    first = admin.put("/secrets/TAGGED", {"value": "1"})
    assert admin.put("/secrets/TAGGED", {"value": "2"}, If_Match=first.headers["ETag"]).status_code == 200
    assert_problem(admin.put("/secrets/TAGGED", {"value": "3"}, If_Match=first.headers["ETag"]), 412)
    assert_problem(admin.delete("/secrets/TAGGED", If_Match=first.headers["ETag"]), 412)
    run = admin.post("/intents", echo()).get_json()["run"]["id"]
    assert_problem(admin.post(f"/runs/{run}:cancel", If_Match='"v77"'), 412)
    tag = admin.get(f"/runs/{run}").headers["ETag"]
    assert admin.post(f"/runs/{run}:cancel", {"reason": "test"}, If_Match=tag).status_code == 202
    assert_problem(admin.post(f"/runs/{run}:cancel", {"reason": 1}), 422)


def test_the_platform_tenant_cannot_be_suspended(platform: Platform) -> None:
    me = platform.root.get("/me").get_json()
    answer = platform.root.patch(f"/tenants/{me['tenant_id']}", {"state": "suspended"}, If_Match="*")
    assert_problem(answer, 422)


def test_taken_names(platform: Platform, tenant: tuple[str, Caller]) -> None:
    body = {"slug": tenant[0], "name": "x", "admin": {"email": "a@b.org", "password": "0123456789"}}
    assert_problem(platform.root.post("/tenants", body), 409, "slug-taken")
    user = {"email": "ADMIN@example.org", "password": "0123456789", "roles": ["viewer"]}
    assert_problem(tenant[1].post("/users", user), 409, "email-taken")
