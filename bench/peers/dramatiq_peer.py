"""Dramatiq on Redis: pipelines, groups, two processes of eight threads; no result is kept."""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend
from harness import REDIS_URL, main

server = redis.Redis.from_url(REDIS_URL)
broker = RedisBroker(url=REDIS_URL)
broker.add_middleware(GroupCallbacks(RedisBackend(url=REDIS_URL)))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="bench")
def noop(n: int) -> dict[str, Any]:
    return {"ok": True, "n": n}


@dramatiq.actor(queue_name="bench")
def last(run: str) -> dict[str, Any]:
    server.set(f"bench:done:{run}", 1, ex=600)
    return {"ok": True, "n": 0}


@dramatiq.actor(queue_name="bench")
def first(run: str, width: int) -> dict[str, Any]:
    fan = dramatiq.group(noop.message(n) for n in range(width))
    fan.add_completion_callback(last.message(run))
    fan.run()
    return {"ok": True, "n": 0}


def work() -> None:
    command = [sys.executable, "-m", "dramatiq", "dramatiq_peer", "--processes", "1", "--threads", "8"]
    os.execv(sys.executable, command)  # so that whoever ends this process ends its workers


class Client:
    def __init__(self) -> None:
        server.flushdb()

    def chain(self, steps: int) -> str:
        run = uuid.uuid4().hex
        links = [noop.message_with_options(args=(n,), pipe_ignore=True) for n in range(steps - 1)]
        dramatiq.pipeline([*links, last.message_with_options(args=(run,), pipe_ignore=True)]).run()
        return run

    def fanout(self, width: int) -> str:
        run = uuid.uuid4().hex
        first.send(run, width)
        return run

    def ended(self, run: str) -> bool:
        return bool(server.exists(f"bench:done:{run}"))


if __name__ == "__main__":
    main(Client, work)
