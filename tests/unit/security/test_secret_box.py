"""Secrets open with their key, in their place, unchanged."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.domain.errors import Unavailable
from app.security.key_ring import KeyMissing, KeyRing, key_id
from app.security.secret_box import Sealed, SecretBox, SecretUnreadable, TenantKey

OLD, NEW = b"k" * 32, b"n" * 32
BOX = SecretBox(KeyRing((OLD,)))
TENANT = uuid4()


def test_a_sealed_value_opens_in_its_place_only() -> None:
    key = BOX.new_tenant_key(TENANT)
    sealed = BOX.seal(TENANT, key, "TOKEN", "välue")
    assert BOX.open(TENANT, key, "TOKEN", sealed) == "välue"
    assert "välue".encode() not in sealed.ciphertext
    changed = Sealed(sealed.nonce, sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1]))
    for box, tenant, name, value in (
        (BOX, TENANT, "OTHER", sealed),
        (BOX, uuid4(), "TOKEN", sealed),
        (BOX, TENANT, "TOKEN", changed),
    ):
        with pytest.raises(SecretUnreadable):
            box.open(tenant, key, name, value)


def test_a_key_wrapped_anew_opens_what_it_sealed_before() -> None:
    key = BOX.new_tenant_key(TENANT)
    sealed = BOX.seal(TENANT, key, "TOKEN", "value")
    both = SecretBox(KeyRing((NEW, OLD)))
    assert both.open(TENANT, key, "TOKEN", sealed) == "value", "an older key opens"
    assert both.new_tenant_key(TENANT).kek_id == key_id(NEW), "the newest one seals"
    again = both.rewrap(TENANT, key)
    assert SecretBox(KeyRing((NEW,))).open(TENANT, again, "TOKEN", sealed) == "value"


def test_a_key_that_is_not_there_is_named() -> None:
    key = BOX.new_tenant_key(TENANT)
    sealed = BOX.seal(TENANT, key, "TOKEN", "value")
    for call in (
        lambda: SecretBox(KeyRing((NEW,))).open(TENANT, key, "TOKEN", sealed),
        lambda: SecretBox(KeyRing((NEW,))).seal(TENANT, key, "TOKEN", "value"),
        lambda: SecretBox(KeyRing((NEW,))).rewrap(TENANT, key),
    ):
        with pytest.raises(
            KeyMissing, match=f"{key_id(OLD)} is not in SECRETS_KEY_FILE, which has {key_id(NEW)}"
        ) as told:
            call()
        assert (told.value.key_id, told.value.code) == (key_id(OLD), "key_missing")
        assert isinstance(told.value, Unavailable), "the API answers 503"
    with pytest.raises(SecretUnreadable):
        SecretBox(KeyRing((NEW, OLD))).open(TENANT, TenantKey(key_id(NEW), key.wrapped), "TOKEN", sealed)


def test_equal_values_look_different() -> None:
    key = BOX.new_tenant_key(TENANT)
    first, second = (BOX.seal(TENANT, key, "TOKEN", "same") for _ in range(2))
    assert (first.nonce, first.ciphertext) != (second.nonce, second.ciphertext)


def test_nothing_secret_in_a_representation() -> None:
    assert "kkk" not in repr(BOX)
    assert "kkk" not in key_id(OLD)
