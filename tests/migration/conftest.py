"""The release after this one, for tests that migrate to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database import ensure_template
from tests.support.next_release import migrating_as, next_release
from tests.support.servers import Cluster


@pytest.fixture(scope="session")
def next_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the next release."""
    return next_release(tmp_path_factory.mktemp("next") / "release")


@pytest.fixture
def following(next_tree: Path, cluster: Cluster) -> Iterator[Path]:
    """This process migrates as the next release does, but the template of all tests is ours."""
    ensure_template(cluster)
    with migrating_as(next_tree):
        yield next_tree
