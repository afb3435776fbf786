"""Keys change while secrets stay: wrapped anew in batches, given up only when they are lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

import pytest
from psycopg2.errors import InsufficientPrivilege

from app.api.app import create_app
from app.db import secrets as store
from app.domain.errors import OperationFailed
from app.security.key_ring import KeyRing, key_id
from app.security.secret_box import SecretBox
from app.services.manage_secrets import as_row, secret_reader, wrapped_key
from app.settings import Settings
from tests.support.http_api import Caller, Platform, assert_problem, echo

SECOND, THIRD = b"2" * 32, b"3" * 32


@pytest.fixture(scope="module")
def first(settings: Settings) -> bytes:
    """The key under which everything of this module begins."""
    return settings.secrets_keys[0]


def started(platform: Platform, *keys: bytes) -> Platform:
    """Return the platform as it is once restarted with these keys."""
    box = SecretBox(KeyRing(keys))
    given = platform.parts
    parts = replace(
        given, box=box, webhooks=replace(given.webhooks, box=box), hooks=replace(given.hooks, box=box)
    )
    app = create_app(parts)
    return Platform(parts, app, Caller(app, platform.root.token, platform.root.tenant_id))


def at(platform: Platform, caller: Caller) -> Caller:
    """Return the same person before a restarted platform."""
    return Caller(platform.app, caller.token, caller.tenant_id)


def read(platform: Platform, caller: Caller, *keys: bytes) -> str:
    """Return the secret as a worker with these keys reads it."""
    reader = secret_reader(SecretBox(KeyRing(keys)), platform.parts.database)
    return reader(UUID(caller.tenant_id), ["TOKEN"])["TOKEN"]


def audited(caller: Caller, action: str) -> list[dict[str, object]]:
    return [each["detail"] for each in caller.get("/audit", action=action).get_json()["items"]]


def listed(platform: Platform) -> dict[str, tuple[str, int]]:
    items = platform.root.get("/platform/keys").get_json()["items"]
    return {each["key_id"]: (each["state"], each["tenant_keys"]) for each in items}


def test_keys_are_replaced_in_batches_while_secrets_stay(platform: Platform, first: bytes) -> None:
    tenants = [platform.tenant()[1] for _ in range(3)]
    for caller in tenants:
        assert caller.put("/secrets/TOKEN", {"value": f"of {caller.tenant_id}"}).status_code == 200
    prepared = started(platform, first, SECOND)
    assert at(prepared, tenants[0]).put("/secrets/OTHER", {"value": "x"}).status_code == 200
    turned = started(platform, SECOND, first)
    before = listed(turned)
    assert (before[key_id(SECOND)], before[key_id(first)][0]) == (("newest", 0), "older")
    count = before[key_id(first)][1]
    assert count >= 3
    path = "/platform/keys:rewrap"
    dry = turned.root.post(path, {"dry_run": True}).get_json()
    assert (dry["rewrapped"], dry["remaining"], dry["missing"]) == (0, count, 0)
    assert listed(turned) == before
    part = turned.root.post(path, {"limit": 1}).get_json()
    assert (part["newest"], part["rewrapped"], part["remaining"]) == (key_id(SECOND), 1, count - 1)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda _: turned.root.post(path, {}).get_json(), range(4)))
    assert sum(each["rewrapped"] for each in parts) == count - 1, "two at once do nothing twice"
    assert listed(turned) == {key_id(SECOND): ("newest", count), key_id(first): ("older", 0)}
    assert turned.root.post(path, {}).get_json()["rewrapped"] == 0
    for caller in tenants:
        assert read(platform, caller, SECOND) == f"of {caller.tenant_id}"
        assert audited(caller, "secret_key.rewrap") == [{"from": key_id(first), "to": key_id(SECOND)}]
        with pytest.raises(OperationFailed, match=key_id(SECOND)) as told:
            read(platform, caller, first)
        assert (told.value.code, told.value.retryable) == ("key_missing", True)
    assert sum(int(str(each["rewrapped"])) for each in audited(platform.root, "keys.rewrap")) == count


def test_a_key_that_changed_meanwhile_is_left_alone(platform: Platform, first: bytes) -> None:
    caller = platform.tenant()[1]
    caller.put("/secrets/TOKEN", {"value": "kept"})
    tenant, box = UUID(caller.tenant_id), SecretBox(KeyRing((SECOND, first)))
    with platform.parts.database.tenant(tenant) as connection:
        old = wrapped_key(connection, tenant)
        assert old is not None
        new = box.rewrap(tenant, old)
        assert store.replace_tenant_key(connection, tenant, as_row(old), as_row(new))
        assert not store.replace_tenant_key(connection, tenant, as_row(old), as_row(new))
    assert read(platform, caller, SECOND) == "kept"


def test_an_older_key_at_hand_is_not_given_up(platform: Platform, first: bytes) -> None:
    caller = platform.tenant()[1]
    caller.put("/secrets/TOKEN", {"value": "kept"})
    turned = started(platform, SECOND, first)
    for key in (first, SECOND):
        answer = turned.root.post(f"/platform/keys/{key_id(key)}:abandon", {"reason": "typed wrong"})
        assert_problem(answer, 409, "key-at-hand")
    assert read(platform, caller, first) == "kept"


def test_the_system_role_counts_keys_without_seeing_them(platform: Platform) -> None:
    with pytest.raises(InsufficientPrivilege):
        platform.parts.platform.call("SELECT wrapped_key FROM tenant_keys")


def test_what_a_lost_key_wraps_is_refused_by_name_then_given_up(platform: Platform) -> None:
    owner = started(platform, THIRD)
    slug, admin = platform.tenant()
    caller = at(owner, admin)
    caller.put("/secrets/TOKEN", {"value": "old"})
    hook = {"name": "h", "url": "https://example.org/", "types": ["*"]}
    assert caller.post("/webhooks", hook).status_code == 201
    trigger = {**echo(), "name": "t", "on": {"source": "inbound"}}
    assert caller.post("/triggers", trigger).status_code == 201

    lost = key_id(THIRD)
    assert listed(platform)[lost] == ("missing", 1)
    assert platform.root.post("/platform/keys:rewrap", {}).get_json()["missing"] >= 1
    for answer in (
        admin.put("/secrets/TOKEN", {"value": "new"}),
        admin.post("/webhooks", {**hook, "name": "i"}),
    ):
        assert lost in assert_problem(answer, 503, "key-missing")["detail"]
    signed = {"webhook-id": "m", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
    answer = platform.app.test_client().post(f"/hooks/{slug}/t", json={}, headers=signed)
    assert_problem(answer, 503, "key-missing")

    path, body = f"/platform/keys/{lost}:abandon", {"reason": "the disk burnt"}
    assert_problem(owner.root.post(path, body), 409, "key-at-hand")
    assert_problem(platform.root.post(path, {}), 422)
    dry = platform.root.post(path, {**body, "dry_run": True}).get_json()
    assert (dry["tenants"], dry["remaining"]) == (0, 1)
    assert read(platform, caller, THIRD) == "old"
    done = platform.root.post(path, body).get_json()
    assert done == {"key_id": lost, "tenants": 1, "secrets": 3, "remaining": 0}
    assert platform.root.post(path, body).get_json() == {**done, "tenants": 0, "secrets": 0}
    assert lost not in listed(platform)
    assert admin.get("/secrets").get_json()["items"] == []
    (record,) = audited(admin, "secret_key.abandon")
    assert (record["secrets"], record["reason"], len(record["webhooks"])) == (["TOKEN"], "the disk burnt", 1)  # type: ignore[arg-type]  # a list of ids
    told = platform.parts.platform.call(
        "SELECT data ->> 'name' FROM events WHERE tenant_id = %s AND type = 'io.quantum.secret.changed'",
        (admin.tenant_id,),
    )
    assert told == [("TOKEN",), ("TOKEN",)], "set, lost"
    assert admin.put("/secrets/TOKEN", {"value": "new"}).status_code == 200
    assert read(platform, caller, *platform.parts.box.ring.keys) == "new"
