"""A fresh outbox with empty streams for each test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from app.runtime.valkey import ValkeyServer
from tests.support.outbox import OutboxRig
from tests.support.servers import DatabaseUrls


@pytest.fixture
def rig(fresh_database_urls: DatabaseUrls, valkey: ValkeyServer) -> Iterator[OutboxRig]:
    with contextlib.closing(redis.Redis.from_url(valkey.url, decode_responses=True)) as client:
        client.flushall()
        yield OutboxRig(fresh_database_urls, valkey.url, client)
