"""The spine over this module's database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine


@pytest.fixture(scope="module")
def spine(database_urls: DatabaseUrls) -> Iterator[Spine]:
    with contextlib.closing(Spine(database_urls)) as spine:
        yield spine
