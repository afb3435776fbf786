"""Real relay processes: killed in the middle, ended in order."""

from __future__ import annotations

import signal

import pytest

from app.messaging.streams import stream_of
from tests.support.outbox import A
from tests.support.processes import OsProcess
from tests.support.waiting import eventually

EVENTS = 12_000
SUBJECTS = 40


@pytest.fixture
def relay_process(rig, tmp_path):
    environ = {
        "ENVIRONMENT": "test",
        "QUANTUM_STATE_DIR": str(tmp_path),
        **rig.urls.environment(),
        "REDIS_URL": rig.redis_url,
    }
    made = []

    def make(name):
        process = OsProcess(["quantum", "relay"], log=tmp_path / f"{name}.log", environ=environ).start()
        made.append(process)
        return process

    yield make
    for process in made:
        process.stop()


def test_a_relay_killed_in_the_middle_loses_nothing_and_keeps_the_order(rig, relay_process):
    with rig.writing(A) as cursor:
        cursor.execute(
            "SELECT emit_event(%s, 'runs/' || n %% %s, n / %s + 1, 'run.started', '{}', '{}')"
            " FROM generate_series(0, %s - 1) n",
            (str(A), SUBJECTS, SUBJECTS, EVENTS),
        )
    first = relay_process("first")
    eventually(lambda: rig.client.xlen(stream_of(A)), within=20, every=0.002)
    first.kill()
    assert 0 < rig.client.xlen(stream_of(A)) < EVENTS
    second = relay_process("second")
    whole = {f"runs/{number}": list(range(1, EVENTS // SUBJECTS + 1)) for number in range(SUBJECTS)}
    eventually(lambda: rig.sequences(A) == whole, within=30, every=0.5)

    second.send(signal.SIGTERM)
    assert second.wait(within=10) == 0
    assert rig.system("SELECT count(owner) FROM relay_cursors") == [(0,)]
