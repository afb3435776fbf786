"""Sign-in: one answer for every wrong credential, limits that hold, refresh tokens that work once."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any
from uuid import UUID

import jwt
import pytest

from app.db import sessions
from app.domain.errors import Unauthenticated
from app.security import passwords
from app.security.access_tokens import read_bearer
from app.security.tokens import ISSUER
from app.services import sign_in as service
from app.services import standing
from tests.support.http_api import PASSWORD, Caller, Platform, assert_problem


def _attempt(platform: Platform, tenant: str, email: str, password: str, address: str) -> int:
    client = platform.app.test_client()
    body = {"tenant": tenant, "email": email, "password": password}
    answer = client.post("/api/v1/auth/token", json=body, environ_base={"REMOTE_ADDR": address})
    return answer.status_code


def _refresh(platform: Platform, token: str) -> tuple[int, str]:
    answer = platform.anonymous().post("/auth/refresh", {"refresh_token": token})
    return answer.status_code, (answer.get_json(force=True) or {}).get("refresh_token", "")


def test_wrong_credentials_look_alike(
    platform: Platform, tenant: tuple[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    verify = passwords._HASHER.verify

    class Counting:
        def verify(self, hash_: str, password: str) -> bool:
            hashed.append(hash_)
            return bool(verify(hash_, password))

        hash = passwords._HASHER.hash

    monkeypatch.setattr(passwords, "_HASHER", Counting())
    answers = set()
    for slug, email in (
        (tenant[0], "admin@example.org"),
        (tenant[0], "nobody@example.org"),
        ("no-such", "a@b.org"),
    ):
        body = {"tenant": slug, "email": email, "password": "wrong"}
        problem = assert_problem(platform.anonymous().post("/auth/token", body), 401, "unauthenticated")
        answers.add((problem["detail"], problem["title"]))
    assert len(answers) == 1
    # The same work was done for each: nobody learns from the delay who has an account.
    assert len(hashed) == 3


def test_failures_are_limited_for_a_source_even_in_parallel(platform: Platform) -> None:
    slug, admin = platform.tenant()
    seen: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: seen.append(
                _attempt(platform, slug, "admin@example.org", "guess", f"2001:db8::{n}")
            )
        )
        for n in range(service.FAILURES_PER_PAIR + 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(401) <= service.FAILURES_PER_PAIR
    assert set(seen) == {401, 429}
    # Even the right password has to wait there, while the owner comes in from elsewhere, as other users do.
    assert _attempt(platform, slug, "admin@example.org", PASSWORD, "2001:db8::99") == 429
    assert _attempt(platform, slug, "admin@example.org", PASSWORD, "10.0.0.99") == 200
    platform.member(slug, admin, "viewer")


def test_failures_of_all_sources_are_limited_for_an_account(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FAILURES_PER_PAIR", 2)
    monkeypatch.setattr(service, "FAILURES_PER_ACCOUNT", 4)
    slug, _ = platform.tenant()

    def guess(address: str, times: int) -> list[int]:
        return [_attempt(platform, slug, "admin@example.org", "guess", address) for _ in range(times)]

    # What a source's own limit refuses does not count against the account.
    assert guess("10.3.0.1", 4) == [401, 401, 429, 429]
    assert guess("10.3.0.2", 3) == [401, 401, 429]
    assert guess("10.3.0.3", 1) == [429]


def test_failures_are_limited_for_an_address(
    platform: Platform, tenant: tuple[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FAILURES_PER_ADDRESS", 3)
    seen = [_attempt(platform, tenant[0], f"u{n}@example.org", "guess", "10.9.9.9") for n in range(5)]
    assert seen == [401, 401, 401, 429, 429]
    assert _attempt(platform, tenant[0], "u1@example.org", "guess", "10.9.9.8") == 401


def test_success_is_not_counted(
    platform: Platform, tenant: tuple[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FAILURES_PER_ADDRESS", 3)
    for _ in range(8):
        assert _attempt(platform, tenant[0], "admin@example.org", PASSWORD, "10.9.9.7") == 200


def test_a_refresh_token_works_once_and_its_reuse_ends_the_family(
    platform: Platform, tenant: tuple[str, Caller]
) -> None:
    first = platform.sign_in(tenant[0], "admin@example.org").refresh_token
    other = platform.sign_in(tenant[0], "admin@example.org").refresh_token
    status, second = _refresh(platform, first)
    assert status == 200
    status, third = _refresh(platform, second)
    assert status == 200
    assert _refresh(platform, first)[0] == 401
    # The thief or the owner: nobody keeps a good token of this family, other sign-ins go on.
    assert _refresh(platform, third)[0] == 401
    assert _refresh(platform, other)[0] == 200
    audit = tenant[1].get("/audit", action="session.reuse").get_json()["items"]
    assert len(audit) == 1


def test_two_uses_of_one_refresh_token_at_once_do_not_both_win(
    platform: Platform, tenant: tuple[str, Caller], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are held where the family has been read: only a lock keeps the second one from getting there."""
    token = platform.sign_in(tenant[0], "admin@example.org").refresh_token
    both_have_read, won = threading.Barrier(2), []
    lock_family = sessions.lock_family

    def meet(*args: Any) -> Any:
        family = lock_family(*args)
        with contextlib.suppress(
            threading.BrokenBarrierError
        ):  # the other one waits for the lock: as it must
            both_have_read.wait(0.7)
        return family

    monkeypatch.setattr(sessions, "lock_family", meet)

    def use() -> None:
        with contextlib.suppress(Unauthenticated):  # what one of the two must see
            won.append(service.refresh(platform.parts.database, token, service.Origin(None, None)))

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


@pytest.mark.parametrize("token", ["", "x", "qpr1.a.b.c", "qpr1." + "0" * 32 + "." + "0" * 32 + ".x"])
def test_malformed_refresh_tokens(platform: Platform, token: str) -> None:
    answer = platform.anonymous().post("/auth/refresh", {"refresh_token": token})
    assert_problem(answer, 422 if token == "" else 401)


def test_a_closed_user_and_a_suspended_tenant_cannot_go_on(platform: Platform) -> None:
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    user = member.get("/me").get_json()["user_id"]
    assert admin.patch(f"/users/{user}", {"state": "disabled"}, If_Match="*").status_code == 200
    assert _refresh(platform, member.refresh_token)[0] == 401
    path = f"/tenants/{admin.tenant_id}"
    assert platform.root.patch(path, {"state": "suspended"}, If_Match="*").status_code == 200
    assert _refresh(platform, admin.refresh_token)[0] == 401
    assert _attempt(platform, slug, "admin@example.org", PASSWORD, "10.1.1.1") == 401


def test_a_new_password_ends_the_sessions(platform: Platform) -> None:
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    me = member.get("/me").get_json()
    changed = admin.patch(f"/users/{me['user_id']}", {"password": "another good one"}, If_Match="*")
    assert changed.status_code == 200
    assert _refresh(platform, member.refresh_token)[0] == 401
    assert _attempt(platform, slug, me["email"], PASSWORD, "10.2.2.2") == 401
    assert _attempt(platform, slug, me["email"], "another good one", "10.2.2.2") == 200


def test_who_signs_out_is_out_with_whatever_token_of_the_session(platform: Platform) -> None:
    slug, admin = platform.tenant()
    sessions_of_two = [platform.member(slug, admin, "viewer").refresh_token for _ in range(2)]
    for old in sessions_of_two:
        _, newer = _refresh(platform, old)
        ended = platform.anonymous().post("/auth/revoke", {"refresh_token": old})
        assert (ended.status_code, ended.data) == (204, b"")
        assert _refresh(platform, newer)[0] == 401
    for nothing in ("x", sessions_of_two[0], "qpr1." + "0" * 32 + "." + "0" * 32 + ".x"):
        assert platform.anonymous().post("/auth/revoke", {"refresh_token": nothing}).status_code == 204
    audit = admin.get("/audit", action="session.close").get_json()["items"]
    assert len(audit) == 2
    assert _refresh(platform, admin.refresh_token)[0] == 200


def test_an_access_token_ends_with_its_session(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "KEPT_S", 0.0)
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    email = member.get("/me").get_json()["email"]
    second, third, fourth = (platform.sign_in(slug, email) for _ in range(3))
    platform.anonymous().post("/auth/revoke", {"refresh_token": member.refresh_token})
    assert_problem(member.get("/me"), 401, "unauthenticated")
    assert second.get("/me").status_code == 200, "another session of the same user goes on"
    assert _refresh(platform, second.refresh_token)[0] == 200
    assert second.get("/me").status_code == 200
    assert _refresh(platform, second.refresh_token)[0] == 401, "used twice: the session ends"
    assert_problem(second.get("/me"), 401, "unauthenticated")
    assert third.put("/me/password", {"current": PASSWORD, "new": "another good one"}).status_code == 204
    for ended in (third, fourth):
        assert_problem(ended.get("/me"), 401, "unauthenticated")
    assert admin.get("/me").status_code == 200


def test_of_too_many_sessions_the_one_unused_longest_ends(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "KEPT_S", 0.0)
    monkeypatch.setattr(service, "MOST_SESSIONS", 3)
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    email = member.get("/me").get_json()["email"]
    second, left = platform.sign_in(slug, email), platform.sign_in(slug, email)
    platform.anonymous().post("/auth/revoke", {"refresh_token": left.refresh_token})
    assert _refresh(platform, member.refresh_token)[0] == 200
    third, fourth = platform.sign_in(slug, email), platform.sign_in(slug, email)
    standings = [caller.get("/me").status_code for caller in (member, second, left, third, fourth)]
    assert standings == [200, 401, 401, 200, 200], "the first was used again, the second was not"
    told = [record["detail"] for record in admin.get("/audit", action="session.open").get_json()["items"]]
    assert [each for each in told if each] == [{"ended": 1}]


def test_two_sign_ins_at_once_leave_no_session_too_many(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_SESSIONS", 2)
    slug, admin = platform.tenant()
    assert platform.sign_in(slug, "admin@example.org").token
    keep_latest, meeting = sessions.keep_latest, threading.Barrier(2)

    def meet(*args: Any) -> int:
        ended = keep_latest(*args)
        with contextlib.suppress(
            threading.BrokenBarrierError
        ):  # the other one waits for the lock: as it must
            meeting.wait(0.5)
        return ended

    monkeypatch.setattr(sessions, "keep_latest", meet)
    threads = [threading.Thread(target=platform.sign_in, args=(slug, "admin@example.org")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with platform.parts.database.tenant(UUID(admin.tenant_id)) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM refresh_families").scalar_one() == 2


def test_everybody_may_change_their_own_password(platform: Platform) -> None:
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    email = member.get("/me").get_json()["email"]
    new = {"current": PASSWORD, "new": "another good one"}
    faults = assert_problem(member.put("/me/password", {**new, "current": "guess"}), 422)["errors"]
    assert [(one["pointer"], one["code"]) for one in faults] == [("/current", "wrong")]
    assert_problem(member.put("/me/password", {**new, "new": "short"}), 422)
    assert member.put("/me/password", new).status_code == 204
    assert _refresh(platform, member.refresh_token)[0] == 401
    assert _attempt(platform, slug, email, PASSWORD, "10.4.4.4") == 401
    assert _attempt(platform, slug, email, "another good one", "10.4.4.4") == 200
    assert _refresh(platform, admin.refresh_token)[0] == 200


def test_of_two_changes_of_one_password_the_later_is_refused(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    email = member.get("/me").get_json()["email"]
    hashing = service.hash_password

    def overtaken(password: str) -> str:
        monkeypatch.setattr(service, "hash_password", hashing)
        first = {"current": PASSWORD, "new": "the first was quicker"}
        assert member.put("/me/password", first).status_code == 204
        return hashing(password)

    monkeypatch.setattr(service, "hash_password", overtaken)
    assert_problem(member.put("/me/password", {"current": PASSWORD, "new": "another good one"}), 422)
    assert _attempt(platform, slug, email, "another good one", "10.4.4.5") == 401
    assert _attempt(platform, slug, email, "the first was quicker", "10.4.4.5") == 200


def test_a_password_that_is_replaced_while_it_is_judged_opens_no_session(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    email = member.get("/me").get_json()["email"]
    judging = service.verify_password

    def overtaken(kept: str | None, password: str) -> bool:
        good = judging(kept, password)
        monkeypatch.setattr(service, "verify_password", judging)
        assert (
            member.put("/me/password", {"current": PASSWORD, "new": "quicker than that"}).status_code == 204
        )
        return good

    monkeypatch.setattr(service, "verify_password", overtaken)
    monkeypatch.setattr(service, "needs_rehash", lambda _: True)
    assert _attempt(platform, slug, email, PASSWORD, "10.4.4.6") == 401
    assert _attempt(platform, slug, email, PASSWORD, "10.4.4.6") == 401, "the old one did not come back"
    assert _attempt(platform, slug, email, "quicker than that", "10.4.4.6") == 200


def test_a_stolen_access_token_is_no_way_to_guess_the_password(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FAILURES_PER_PAIR", 3)
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "viewer")
    guesses = [
        member.put("/me/password", {"current": f"guess {n}", "new": "another good one"}).status_code
        for n in range(5)
    ]
    assert guesses == [422, 422, 422, 429, 429]


@pytest.mark.parametrize(("ahead_s", "good"), [(5, True), (60, False)])
def test_a_token_of_a_host_whose_clock_is_a_little_ahead_is_good(
    platform: Platform, tenant: tuple[str, Caller], ahead_s: int, good: bool
) -> None:
    keys, began = platform.parts.keys, time.time() + ahead_s
    claims = jwt.decode(tenant[1].token or "", keys.public, algorithms=["EdDSA"], issuer=ISSUER)
    claims |= {"iat": began, "nbf": began, "exp": began + 900}
    caller = Caller(platform.app, jwt.encode(claims, keys.private, algorithm="EdDSA"))
    assert caller.get("/me").status_code == (200 if good else 401)
    if good:
        assert read_bearer(f"Bearer {caller.token}", keys, "r").actor.tenant_slug == tenant[0]
    else:
        with pytest.raises(Unauthenticated):
            read_bearer(f"Bearer {caller.token}", keys, "r")


def test_a_good_token_ends_with_the_standing_of_its_user(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "KEPT_S", 0.0)
    slug, admin = platform.tenant()
    member = platform.member(slug, admin, "operator")
    user, cancel = (
        member.get("/me").get_json()["user_id"],
        f"/runs/{UUID(int=0)}:cancel",
    )
    assert member.post(cancel).status_code == 404
    assert admin.patch(f"/users/{user}", {"roles": ["viewer"]}, If_Match="*").status_code == 200
    assert member.post(cancel).status_code == 403
    assert admin.patch(f"/users/{user}", {"state": "disabled"}, If_Match="*").status_code == 200
    assert_problem(member.get("/runs"), 401, "unauthenticated")
    path = f"/tenants/{admin.tenant_id}"
    assert platform.root.patch(path, {"state": "suspended"}, If_Match="*").status_code == 200
    assert_problem(admin.post("/intents", {"type": "core.echo", "spec": {"message": "x"}}), 401)


def test_a_standing_is_read_once_while_it_is_kept(platform: Platform, tenant: tuple[str, Caller]) -> None:
    bearer = read_bearer(f"Bearer {tenant[1].token}", platform.parts.keys, "r")
    assert bearer.actor.user_id is not None
    place = (bearer.actor.tenant_id, bearer.actor.user_id, bearer.session_id)
    now, reads = [0.0], []

    class Counting:
        def tenant(self, tenant_id: Any) -> Any:
            reads.append(tenant_id)
            return platform.parts.database.tenant(tenant_id)

    database: Any = Counting()
    standings = standing.Standings(database, lambda: now[0])
    for at, expected in ((0.0, 1), (standing.KEPT_S - 0.1, 1), (standing.KEPT_S + 0.1, 2)):
        now[0] = at
        assert standings.roles(*place) == frozenset({"tenant_admin"})
        assert len(reads) == expected
