"""The fixed table behind authorize."""

from __future__ import annotations

from uuid import uuid4

import pytest

from app.domain.errors import Forbidden
from app.domain.identity import PERMISSIONS, PLATFORM_SLUG, ROLE_PERMISSIONS, Actor
from app.security.authorize import authorize


def _actor(slug: str, *roles: str) -> Actor:
    return Actor(uuid4(), slug, uuid4(), "a@example.org", frozenset(roles), "r")


def test_every_permission_is_granted_to_somebody_and_none_is_misspelt() -> None:
    assert frozenset().union(*ROLE_PERMISSIONS.values()) == PERMISSIONS


def test_without_a_role_nothing_is_allowed() -> None:
    for permission in PERMISSIONS:
        for actor in (_actor("acme"), _actor(PLATFORM_SLUG), _actor("acme", "root", "platform_admin")):
            with pytest.raises(Forbidden):
                authorize(actor, permission)


def test_platform_administration_works_in_the_platform_tenant_only() -> None:
    authorize(_actor(PLATFORM_SLUG, "platform_admin"), "tenants:write")
    with pytest.raises(Forbidden):
        authorize(_actor("acme", "platform_admin", "tenant_admin"), "tenants:write")


def test_an_unknown_permission_is_a_fault_of_ours() -> None:
    with pytest.raises(LookupError):
        authorize(_actor(PLATFORM_SLUG, "platform_admin"), "everything")
