"""One application for each module, with two tenants."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.settings import Settings
from tests.support.http_api import Caller, Platform, start_platform


@pytest.fixture(scope="module")
def platform(settings: Settings) -> Iterator[Platform]:
    """The application over this module's database."""
    started = start_platform(settings)
    yield started
    started.parts.database.dispose()
    started.parts.platform.dispose()


@pytest.fixture(scope="module")
def tenant(platform: Platform) -> tuple[str, Caller]:
    """A tenant's slug and administrator."""
    return platform.tenant()


@pytest.fixture(scope="module")
def admin(tenant: tuple[str, Caller]) -> Caller:
    """A tenant administrator."""
    return tenant[1]


@pytest.fixture(scope="module")
def stranger(platform: Platform) -> Caller:
    """The administrator of another tenant."""
    return platform.tenant()[1]
