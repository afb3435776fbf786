"""A database of the consumer's own, as an outsider has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.database import empty_database
from tests.support.servers import Cluster


@pytest.fixture(scope="module")
def database(cluster: Cluster) -> Iterator[str]:
    with empty_database(cluster) as urls:
        yield urls.owner
