"""A rig, with a worker's hands, over this module's servers: for suites that start no process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.hands import Hands
    from tests.support.rig import Rig


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig without any process."""
    from tests.support.rig import rig_on  # noqa: PLC0415 - most suites need no platform

    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def hands(rig: Rig) -> Hands:
    """What executes the rig's steps in this process."""
    from tests.support.hands import Hands  # noqa: PLC0415 - as above

    return Hands(rig)
