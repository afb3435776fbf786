"""What Redis forgot is published again, with the same ids."""

from __future__ import annotations

import pytest

from app.domain.errors import Unavailable
from app.messaging.streams import POSITIONS_KEY, stream_of
from tests.support.outbox import A


def ids(rig):
    return [event["id"] for event in rig.stream(A)]


def test_a_flushed_redis_is_noticed_though_nothing_new_happens(rig):
    for subject in ("runs/1", "runs/2", "runs/3"):
        rig.emit(A, subject, 1, 5)
    relay = rig.relay()
    relay.turn()
    before = ids(rig)
    rig.client.flushall()
    assert relay.turn() == (15, False)
    assert sorted(ids(rig)) == sorted(before)
    assert all(numbers == [1, 2, 3, 4, 5] for numbers in rig.sequences(A).values())
    assert relay.turn() == (0, False)


def test_a_flush_between_look_and_publish_loses_nothing(rig):
    rig.emit(A, "runs/1", 1, 3)
    relay = rig.relay()
    relay.turn()
    rig.emit(A, "runs/1", 4, 5)
    publish = relay.sink.publish

    def flush_first(*args):
        relay.sink.publish = publish
        rig.client.flushall()
        return publish(*args)

    relay.sink.publish = flush_first
    relay.turn()
    assert rig.stream(A) == []
    relay.turn()
    assert rig.sequences(A) == {"runs/1": [1, 2, 3, 4, 5]}


def test_after_a_restart_the_relay_goes_back_to_what_redis_remembers(rig):
    """A server that syncs its log each second loses the last one, but keeps its epoch key."""
    rig.emit(A, "runs/1", 1, 3)
    relay = rig.relay()
    relay.turn()
    remembered = rig.client.hgetall(POSITIONS_KEY)
    entries = rig.client.xlen(stream_of(A))
    rig.emit(A, "runs/1", 4, 6)
    relay.turn()
    lost = rig.client.xrange(stream_of(A))[entries:]
    rig.client.xdel(stream_of(A), *[entry for entry, _ in lost])
    rig.client.hset(POSITIONS_KEY, mapping=remembered)
    rig.system("UPDATE relay_cursors SET epoch = split_part(epoch, ':', 1) || ':the-run-before'")
    assert relay.turn() == (3, False)
    assert [fields["id"] for _, fields in rig.client.xrange(stream_of(A))[entries:]] == [
        fields["id"] for _, fields in lost
    ]


def test_a_stopped_redis_delays_events_and_loses_none(rig, valkey):
    rig.emit(A, "runs/1", 1, 2)
    relay = rig.relay()
    valkey.stop()
    try:
        with pytest.raises(Unavailable):
            relay.turn()
    finally:
        valkey.start()
    assert relay.turn() == (2, False)
    rig.emit(A, "runs/1", 3, 3)
    valkey.stop()
    valkey.start()  # without persistence: it comes back empty
    relay.turn()
    assert rig.sequences(A) == {"runs/1": [1, 2, 3]}


def test_events_gather_for_a_moment_unless_a_batch_is_full(rig):
    rig.emit(A, "runs/2", 1, 3)
    pauses: list[float] = []

    def stopped(pause):
        pauses.append(pause)
        return len(pauses) > 3

    rig.relay(batch=2, poll_least_s=0.01, poll_most_s=0.05).run(stopped)
    assert pauses == [0, 0, 0.01, 0.02]


def test_the_relay_backs_off_while_the_sink_is_away_and_polls_slower_when_idle(rig):
    pauses: list[float] = []

    def stop_after(count):
        def stopped(pause):
            pauses.append(pause)
            return len(pauses) > count

        return stopped

    rig.relay(poll_least_s=0.02, poll_most_s=0.08).run(stop_after(4))
    assert pauses == [0, 0.02, 0.04, 0.08, 0.08]

    def away(*_):
        raise Unavailable("redis")

    pauses.clear()
    relay = rig.relay("two", backoff_least_s=0.1, backoff_most_s=1.0)
    relay.sink.look = away
    relay.run(stop_after(6))
    assert pauses == [0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
