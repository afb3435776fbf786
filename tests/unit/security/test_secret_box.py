"""Secrets open with their key, in their place, unchanged."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.security.secret_box import Sealed, SecretBox, SecretUnreadable

BOX = SecretBox(b"k" * 32)
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
        (SecretBox(b"x" * 32), TENANT, "TOKEN", sealed),
        (BOX, TENANT, "TOKEN", changed),
    ):
        with pytest.raises(SecretUnreadable):
            box.open(tenant, key, name, value)


def test_equal_values_look_different() -> None:
    key = BOX.new_tenant_key(TENANT)
    first, second = (BOX.seal(TENANT, key, "TOKEN", "same") for _ in range(2))
    assert (first.nonce, first.ciphertext) != (second.nonce, second.ciphertext)


def test_nothing_secret_in_a_representation() -> None:
    assert "kkk" not in repr(BOX)
