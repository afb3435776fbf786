"""New events wake who waits for them, gathered, outside of the business transaction; polling does without."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg2
import pytest

from app.db.engine import Database
from app.db.wakeups import Wakeups, tell
from app.services.event_bell import EventBell, RingingSender
from app.services.submit import nothing_to_send
from tests.support.outbox import A
from tests.support.waiting import eventually, holds

LONG = 600.0


@pytest.fixture
def wakeups(rig) -> Iterator[Wakeups]:
    wakeups = Wakeups(rig.urls.owner)
    first = wakeups.waiter()
    wakeups.start()
    first(LONG)  # it rings once when it begins to listen
    yield wakeups
    wakeups.stop()


LISTENERS = (
    " FROM pg_stat_activity WHERE application_name = 'quantum-wakeups' AND datname = current_database()"
)


def admin(rig, select):
    with psycopg2.connect(rig.urls.admin) as connection, connection.cursor() as cursor:
        cursor.execute(select + LISTENERS)
        return cursor.fetchone()


def listening(rig) -> bool:
    return admin(rig, "SELECT count(*)") == (1,)


@pytest.mark.parametrize("waking", [True, False], ids=["woken", "polling"])
def test_events_arrive_with_wake_ups_and_without(rig, waking):
    wakeups = Wakeups(rig.urls.owner if waking else "")
    wakeups.start()
    relay = rig.relay(poll_least_s=0.05, poll_most_s=LONG if waking else 0.2)
    thread = threading.Thread(target=relay.run, args=(wakeups.stopped, wakeups.waiter()))
    thread.start()
    try:
        eventually(lambda: not waking or listening(rig))
        for last in (1, 2, 3):
            rig.emit(A, "runs/1", last, last)
            if waking:
                tell(Database(rig.urls.app))
            eventually(lambda last=last: rig.sequences(A) == {"runs/1": list(range(1, last + 1))}, within=20)
    finally:
        wakeups.stop()
        thread.join(20)
    assert not thread.is_alive()


def test_the_sequencer_wakes_the_readers_but_no_writer_does(rig, wakeups):
    wait = wakeups.waiter()
    rung = threading.Event()
    threading.Thread(target=lambda: (wait(LONG), rung.set()), daemon=True).start()
    rig.emit(A, "runs/1", 1, 3)
    holds(lambda: not rung.is_set(), during=0.3)
    rig.relay().outbox.number(10)
    assert rung.wait(20)


def test_a_lost_connection_is_made_anew_and_rings(rig, wakeups):
    wait = wakeups.waiter()
    assert admin(rig, "SELECT pg_terminate_backend(pid)") == (True,)
    before = time.monotonic()
    assert not wait(LONG)
    assert time.monotonic() - before < LONG / 2
    eventually(lambda: listening(rig))


def test_a_back_off_is_not_cut_short(rig):
    wakeups = Wakeups("")
    wait = wakeups.waiter()
    for _ in range(3):
        wakeups.ring()
    before = time.monotonic()
    assert not wakeups.stopped(0.2)
    assert time.monotonic() - before >= 0.2
    assert not wait(LONG), "what rang meanwhile is not forgotten"


def test_the_bell_gathers_what_is_rung_together(rig):
    told = []
    bell = EventBell(lambda: told.append(1))
    for _ in range(200):
        bell.ring()
    eventually(lambda: told)
    holds(lambda: len(told) <= 3, during=0.3)


def test_whoever_hands_over_a_job_rings():
    class Sender:
        def epoch(self):
            return "an epoch"

        def later(self, job):
            job()

    done, rung = [], threading.Event()
    sender = RingingSender(Sender(), EventBell(rung.set))
    sender.later(lambda: done.append(1))
    assert (sender.epoch(), done) == ("an epoch", [1])
    assert rung.wait(20)


def test_a_commit_of_which_nothing_is_sent_rings_and_wakes_no_sender():
    class Sender:
        def epoch(self):
            return "an epoch"

        def later(self, job):
            raise AssertionError(f"nothing is to be done, yet {job} was handed over")

    rung = threading.Event()
    RingingSender(Sender(), EventBell(rung.set)).later(nothing_to_send)
    assert rung.wait(20)
