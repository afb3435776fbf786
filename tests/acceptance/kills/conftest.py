"""Rigs for the kill tests: a shared one for each module, one on servers that may be killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.rig import Rig, rig_on
from tests.support.servers import PrivateServers


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig without any process."""
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def busy(rig: Rig) -> Rig:
    """A rig with a beat and one worker of two processes."""
    rig.beat()
    rig.worker()
    return rig


@pytest.fixture(scope="module")
def frail(
    own_servers: PrivateServers, broker_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """A rig whose servers may be killed, with a beat and one worker."""
    folder = tmp_path_factory.mktemp("frail")
    with rig_on(own_servers.surroundings(folder, **broker_environ), folder) as rig:
        rig.beat()
        rig.kept_worker()
        yield rig
