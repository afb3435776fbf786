"""A database with webhooks for each module, a receiver for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support.http_target import HttpTarget, Reply, Seen, http_target
from tests.support.servers import DatabaseUrls
from tests.support.webhooks import HookRig, Receiver

Serve = Callable[[Callable[[Seen], Reply]], HttpTarget]


@pytest.fixture
def rig(database_urls: DatabaseUrls) -> Iterator[HookRig]:
    rig = HookRig(database_urls)
    yield rig
    rig.admin.call("DELETE FROM webhooks RETURNING id")
    rig.close()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts receivers; ended with the test."""
    with ExitStack() as stack:
        yield lambda reply: stack.enter_context(http_target(reply))


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()
