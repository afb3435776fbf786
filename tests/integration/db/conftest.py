"""The spine over this module's database."""

from __future__ import annotations

import pytest

from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine


@pytest.fixture(scope="module")
def spine(database_urls: DatabaseUrls) -> Spine:
    return Spine(database_urls)
