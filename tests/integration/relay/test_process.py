"""Real relay processes: killed in the middle, ended in order."""

from __future__ import annotations

import signal

import pytest
import redis

from app.messaging.streams import stream_of
from app.runtime.ports import free_port
from tests.support.outbox import A, OutboxRig
from tests.support.prepared import Program
from tests.support.servers import surroundings
from tests.support.waiting import eventually

EVENTS = 12_000
SUBJECTS = 40


@pytest.fixture
def relay_process_on(tmp_path):
    """Starts a relay over the servers of a rig; ended with the test."""
    made = []

    def make(rig, name, **more):
        environ = surroundings(tmp_path, rig.urls, rig.redis_url, **more)
        process = Program(["quantum", "relay"], log=tmp_path / f"{name}.log", environ=environ).start()
        made.append(process)
        return process

    yield make
    for process in made:
        process.stop()


def test_a_relay_killed_in_the_middle_loses_nothing_and_keeps_the_order(rig, relay_process_on):
    with rig.writing(A) as cursor:
        cursor.execute(
            "SELECT emit_event(%s, 'runs/' || n %% %s, n / %s + 1, 'run.started', '{}', '{}')"
            " FROM generate_series(0, %s - 1) n",
            (str(A), SUBJECTS, SUBJECTS, EVENTS),
        )
    first = relay_process_on(rig, "first")
    eventually(lambda: rig.client.xlen(stream_of(A)), within=20, every=0.002)
    first.kill()
    assert 0 < rig.client.xlen(stream_of(A)) < EVENTS
    second = relay_process_on(rig, "second")
    whole = {f"runs/{number}": list(range(1, EVENTS // SUBJECTS + 1)) for number in range(SUBJECTS)}
    eventually(lambda: rig.sequences(A) == whole, within=30, every=0.5)

    second.send(signal.SIGTERM)
    assert second.wait(within=10) == 0
    assert rig.system("SELECT count(owner) FROM relay_cursors") == [(0,)]


def test_a_sink_that_is_away_does_not_hold_the_others(rig, relay_process_on):
    away = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    rig.emit(A, "runs/1", 1, 300)
    relay = relay_process_on(rig, "both", EVENT_SINKS="redis,rabbitmq", EVENT_AMQP_URL=away)
    eventually(lambda: rig.sequences(A) == {"runs/1": list(range(1, 301))}, within=20)
    relay.wait_for("relay_waits")
    positions = dict(rig.system("SELECT sink, max(position) FROM relay_cursors GROUP BY sink"))
    assert positions == {"redis": 300, "rabbitmq": 0}
    relay.send(signal.SIGTERM)
    assert relay.wait(within=20) == 0


def test_servers_killed_under_a_relay_cost_no_event(own_servers, relay_process_on):
    """Valkey with an append-only file synced each second loses its last second; PostgreSQL loses nothing."""
    client = redis.Redis.from_url(own_servers.valkey.url, decode_responses=True)
    rig = OutboxRig(own_servers.database, own_servers.valkey.url, client)
    relay_process_on(rig, "steady")
    rig.emit(A, "runs/1", 1, 300)
    eventually(lambda: rig.client.xlen(stream_of(A)) >= 300, within=20)
    own_servers.valkey.kill()
    rig.emit(A, "runs/1", 301, 400)
    own_servers.valkey.start()
    expected = {"runs/1": list(range(1, 401))}
    eventually(lambda: rig.sequences(A) == expected, within=30, every=0.5)
    own_servers.postgres.kill()
    own_servers.postgres.start()
    rig.emit(A, "runs/1", 401, 450)
    expected = {"runs/1": list(range(1, 451))}
    eventually(lambda: rig.sequences(A) == expected, within=30, every=0.5)
