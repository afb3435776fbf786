"""Changes name the version they are based on."""

from __future__ import annotations

import threading

import pytest

from tests.support.http_api import PREFIX, Caller, Platform, assert_problem, echo


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


def test_a_read_that_shows_the_same_is_not_sent_again(admin: Caller, user: str) -> None:
    first = admin.get(user)
    tag = first.headers["ETag"]
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert first.headers["Vary"] == "Authorization"
    for known in (tag, f'"other", W/{tag}', "*"):
        again = admin.call("GET", user, headers={"If-None-Match": known})
        assert (again.status_code, again.data) == (304, b""), known
        assert (again.headers["ETag"], again.headers["Vary"]) == (tag, "Authorization")
    admin.patch(user, {"display_name": "New"}, If_Match=tag)
    changed = admin.call("GET", user, headers={"If-None-Match": tag})
    assert changed.get_json()["display_name"] == "New"
    assert changed.headers["ETag"] != tag
    listed = admin.get("/users")
    assert admin.call("GET", "/users", headers={"If-None-Match": listed.headers["ETag"]}).status_code == 304
    assert_problem(admin.call("GET", f"/users/{'0' * 8}-0000-7000-8000-{'0' * 12}"), 404)


def test_what_never_changes_may_be_kept(platform: Platform, admin: Caller) -> None:
    forever = "private, max-age=31536000, immutable"
    kind = admin.get("/intent_types/core.echo").get_json()
    ways = {
        "/intent_types/core.echo/versions/1": forever,
        f"/workflows/{kind['workflow_name']}/versions/{kind['workflow_version']}": forever,
        "/intent_types/core.echo": "private, no-cache",
        "/events/schemas/run.failed": "private, max-age=3600",
    }
    for path, caching in ways.items():
        answer = admin.get(path)
        assert (answer.status_code, answer.headers["Cache-Control"]) == (200, caching), path
        assert answer.headers["Vary"] == "Authorization"
    for path in ("openapi.json", "docs", "docs/docs.js"):
        client = platform.app.test_client()
        answer = client.get(f"{PREFIX}/{path}")
        assert answer.headers["Cache-Control"] == "public, no-cache"
        again = client.get(f"{PREFIX}/{path}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
    for refused in (admin.get("/runs/00000000-0000-7000-8000-000000000000"), platform.anonymous().get("/me")):
        assert refused.headers["Cache-Control"] == "no-store"
        assert "ETag" not in refused.headers
    assert admin.post("/intents", echo()).headers["Cache-Control"] == "no-store"
