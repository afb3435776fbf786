"""The link to the broker: its epoch, its breaker, what a stopped broker costs a caller."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis

from app.domain.errors import Unavailable
from app.messaging.broker_epoch import BrokerLink, redis_reader
from app.messaging.broker_view import RedisBrokerView
from app.messaging.producer import SendThread
from app.runtime.valkey import ValkeyServer
from app.services.recover import LostMessages
from app.services.submit import Submission, submit_intents
from tests.support.rig import Rig, note, rig_on
from tests.support.waiting import eventually

pytestmark = pytest.mark.redis_broker("keys and lists of Redis; RabbitMQ has tests/services/test_rabbitmq.py")


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig that admits whatever these tests leave behind, or the next one's run would wait."""
    with rig_on({**environ, "ADMISSION_FLOOR": "10000"}, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


def link(url: str) -> BrokerLink:
    return BrokerLink(redis_reader(url, 0.2), time.monotonic)


def test_every_reader_sees_one_epoch_until_a_flush_begins_another(redis_url: str) -> None:
    first, second = link(redis_url), link(redis_url)
    before = first.refresh()
    assert before is not None
    assert second.refresh() == before
    redis.Redis.from_url(redis_url).flushall()
    after = first.refresh()
    assert after not in (None, before)
    assert second.refresh() == after


def test_a_broken_send_fails_at_once_until_the_broker_answers(redis_url: str) -> None:
    broker = link(redis_url)
    broker.refresh()
    broker.broke()
    assert broker.epoch is None
    assert broker.refresh() is not None


def test_the_look_sees_what_waits_by_message_id(rig: Rig, redis_url: str) -> None:
    run = rig.submit([note("a"), note("b", "a")])
    view = RedisBrokerView(redis_url, link(redis_url), time.time, 0.5).look(["default"])
    assert f"{run}:a:1" in view.queues["default"].ids
    assert view.queues["default"].whole


def test_a_lost_message_is_sent_again_after_two_looks_only(rig: Rig, redis_url: str) -> None:
    run = rig.submit([note("a"), note("b", "a")])
    rig.redis.delete("default")
    parts = rig.beat_parts
    lost = LostMessages(parts.dispatch, parts.broker)

    def aged() -> bool:
        found = rig.rows(
            "SELECT 1 FROM run_steps WHERE run_id = %s AND key = 'a'"
            " AND sent_at < clock_timestamp() - interval '3 seconds'",
            run,
        )
        return bool(found)

    eventually(aged, within=10)
    assert lost.look() == 0
    assert not rig.messages()
    assert lost.look() >= 1
    assert f"{run}:a:2" in [message["id"] for message in rig.messages()]
    assert lost.look() == 0


def test_a_stopped_broker_costs_a_submission_nothing(rig: Rig, valkey: ValkeyServer, redis_url: str) -> None:
    document = {"name": "test.stopped", "version": 1, "steps": [note("a")]}
    deps = rig.deps(document)
    outbox = SendThread(link(redis_url))
    deps = replace(deps, outbox=outbox)

    def submit() -> float:
        begun = time.perf_counter()
        outcome = submit_intents(deps, rig.actor, [Submission(type="test.stopped", spec={})])[0]
        assert outcome.error is None
        return time.perf_counter() - begun

    eventually(outbox.epoch, within=5)
    plain = sorted(submit() for _ in range(40))
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        eventually(lambda: outbox.epoch() is None, within=3, what="the breaker opens")
        stopped = sorted(submit() for _ in range(40))
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    assert stopped[37] < plain[37] + 0.02
    with pytest.raises(Unavailable):
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            deps.engine.sender.send([])
            eventually(lambda: deps.engine.sender.epoch() is None, within=5)
            deps.engine.sender.send([])
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
    eventually(outbox.epoch, within=5, what="the breaker closes")
