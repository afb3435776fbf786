"""The contract of sinks on Redis Streams."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import redis

from app.runtime.valkey import ValkeyServer
from tests.support.outbox import OutboxRig
from tests.support.servers import DatabaseUrls
from tests.support.sinks.contract import SinkContract
from tests.support.sinks.kits import RedisKit


@pytest.fixture
def outbox(fresh_database_urls: DatabaseUrls, valkey: ValkeyServer) -> Iterator[OutboxRig]:
    with contextlib.closing(redis.Redis.from_url(valkey.url, decode_responses=True)) as client:
        yield OutboxRig(fresh_database_urls, valkey.url, client)


class TestRedisStreams(SinkContract):
    @pytest.fixture
    def kit(self, valkey: ValkeyServer) -> Iterator[RedisKit]:
        with contextlib.closing(RedisKit(valkey)) as kit:
            yield kit
