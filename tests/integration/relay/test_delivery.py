"""The relay delivers committed events, once as long as nothing fails, in order per subject."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg2

from app.messaging.streams import stream_of
from tests.support.outbox import EMIT, A, B
from tests.support.waiting import eventually


def subjects_of_one_shard(rig, count):
    """Return subjects that share a cursor."""
    query = (
        "SELECT 'runs/' || n FROM generate_series(1, 99) n WHERE event_shard(%s, 'runs/' || n) = 0 LIMIT %s"
    )
    return [subject for (subject,) in rig.system(query, str(A), count)]


def test_events_arrive_as_cloudevents_in_order_each_in_its_tenants_stream(rig):
    for subject in ("runs/1", "runs/2"):
        rig.emit(A, subject, 1, 3, {"subject": subject})
    rig.emit(B, "runs/1", 1, 1)
    relay = rig.relay()
    assert relay.turn() == (7, False)
    assert relay.turn() == (0, False)
    assert rig.sequences(A) == {"runs/1": [1, 2, 3], "runs/2": [1, 2, 3]}
    (only,) = rig.stream(B)
    assert (only["specversion"], only["type"], only["source"], only["subject"]) == (
        "1.0",
        "io.quantum.run.started",
        f"/tenants/{B}",
        "runs/1",
    )
    (entry,) = rig.client.xrange(stream_of(B))
    assert entry[1]["id"] == only["id"]


def test_a_lower_id_that_commits_late_is_delivered(rig):
    early, late = subjects_of_one_shard(rig, 2)
    relay = rig.relay()
    with rig.writing(A) as slow:
        slow.execute(EMIT, (str(A), early, 1, "{}"))
        rig.emit(A, late, 1, 1)
        assert relay.turn() == (1, False)
    ids = dict(rig.system("SELECT subject, id FROM events"))
    assert ids[early] < ids[late]
    assert relay.turn() == (1, False)
    assert [event["subject"] for event in rig.stream(A)] == [late, early]


def test_a_subject_keeps_its_order_though_the_clock_stepped_back(rig):
    rig.emit(A, "runs/1", 1, 5)
    rig.system("SELECT sequence_events(100)")
    rig.emit(A, "runs/1", 6, 8)
    with contextlib.closing(psycopg2.connect(rig.urls.admin)) as admin, admin:
        admin.cursor().execute("UPDATE events SET created_at = '2020-01-01' WHERE seq = 8")
    assert rig.system("SELECT sequence_events(1)") == [(3,)], "what comes before it in its subject, too"
    rows = rig.system("SELECT seq FROM events ORDER BY position")
    assert [seq for (seq,) in rows] == list(range(1, 9))


def test_two_relays_share_the_shards_and_neither_repeats_the_other(rig):
    subjects = [f"runs/{number}" for number in range(24)]
    one, two = rig.relay("one", lease_s=60), rig.relay("two", lease_s=60)
    one.outbox.claim("redis", "one", 60)
    two.outbox.claim("redis", "two", 60)
    one.outbox.claim("redis", "one", 60)  # gives up what exceeds its share, now that there are two
    two.outbox.claim("redis", "two", 60)
    held = [{shard.number for shard in relay.outbox.held("redis", relay.owner)} for relay in (one, two)]
    assert [len(shards) for shards in held] == [4, 4]
    assert not held[0] & held[1]

    barrier = threading.Barrier(2)
    publish = {relay.owner: relay.sink.publish for relay in (one, two)}
    for relay in (one, two):
        relay.sink.publish = lambda *args, owner=relay.owner: (barrier.wait(10), publish[owner](*args))[1]
    with ThreadPoolExecutor(2) as pool:
        for first in (1, 6, 11):
            for subject in subjects:
                rig.emit(A, subject, first, first + 4)
            one.outbox.number(1000)  # so that both find work, and meet at the barrier
            turns = [pool.submit(relay.turn) for relay in (one, two)]
            assert sum(turn.result(20)[0] for turn in turns) == len(subjects) * 5
    assert rig.client.xlen(stream_of(A)) == len(subjects) * 15
    assert rig.sequences(A) == {subject: list(range(1, 16)) for subject in subjects}


def test_a_relay_takes_over_when_the_leases_of_a_dead_one_end(rig):
    rig.emit(A, "runs/1", 1, 2)
    dead = rig.relay("dead", lease_s=0.3)
    dead.turn()
    heir = rig.relay("heir", lease_s=0.3)
    rig.emit(A, "runs/1", 3, 3)
    stop = threading.Event()
    thread = threading.Thread(target=heir.run, args=(stop.wait,))
    thread.start()
    try:
        eventually(lambda: rig.sequences(A) == {"runs/1": [1, 2, 3]})
        assert rig.client.xlen(stream_of(A)) == 3
    finally:
        stop.set()
        thread.join(10)
    assert rig.system("SELECT count(owner) FROM relay_cursors") == [(0,)]


def test_streams_are_trimmed_by_length_and_by_age(rig):
    rig.emit(A, "runs/1", 1, 1000)
    rig.relay(sink=rig.sink(entries=100, age_s=3600)).turn()
    rig.emit(A, "runs/1", 1001, 1600)
    rig.relay(sink=rig.sink(entries=100, age_s=3600)).turn()
    assert 100 <= rig.client.xlen(stream_of(A)) < 400
    assert 3_500_000 < rig.client.pttl(stream_of(A)) <= 3_600_000
