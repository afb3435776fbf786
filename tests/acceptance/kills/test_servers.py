"""Deaths of the servers, while chords are in flight."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from uuid import UUID

import pytest

from tests.support.brokers import over_rabbitmq
from tests.support.rig import Rig, held, note
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually


def chord(rig: Rig, gate: str) -> UUID:
    """Submit a chord of three holding headers; return its run once two of them run."""
    names = ("one", "two", "three")
    run = rig.submit(
        [
            note("start"),
            *(held(name, gate, "start") for name in names),
            note("join", *names),
            note("end", "join"),
        ]
    )
    eventually(lambda: rig.count(run, "running") == 2, within=30)
    waiting = [message["chord"] for message in rig.messages()]
    assert len(waiting) == 1 and waiting[0] is not None, "the third header waits, part of a chord"
    return run


def flush(rig: Rig, servers: PrivateServers) -> None:
    rig.redis.flushall()


def kill_valkey(rig: Rig, servers: PrivateServers) -> None:
    servers.valkey.kill()
    servers.valkey.start()


def restart_postgres(rig: Rig, servers: PrivateServers) -> None:
    servers.postgres.kill()
    servers.postgres.start()


@pytest.mark.parametrize("harm", [flush, kill_valkey, restart_postgres])
def test_a_chord_in_flight_survives(
    frail: Rig, own_servers: PrivateServers, harm: Callable[[Rig, PrivateServers], None]
) -> None:
    run = chord(frail, harm.__name__)
    harm(frail, own_servers)
    frail.open_gate(harm.__name__)
    frail.ends(run, within=90)
    assert len(frail.ledger.begun(str(run), "join")) == 1
    frail.checks(run)


def test_a_broker_out_of_memory_costs_no_worker(frail: Rig) -> None:
    run = chord(frail, "memory")
    (worker,) = {row["pid"] for row in frail.rows("SELECT pid FROM workers WHERE state = 'live'")}
    frail.redis.config_set("maxmemory", 1)
    frail.open_gate("memory")
    # A process that is free takes the third message: where it is to be noted, the broker refuses.
    eventually(lambda: frail.count(run, "succeeded") >= 3, within=30)
    eventually(lambda: not frail.depth(), within=30)
    frail.redis.config_set("maxmemory", 0)
    frail.ends(run, within=90)
    assert {row["pid"] for row in frail.rows("SELECT pid FROM workers WHERE state = 'live'")} == {worker}
    frail.checks(run)


def test_intents_are_accepted_while_redis_is_away_and_run_later(
    frail: Rig, own_servers: PrivateServers
) -> None:
    own_servers.valkey.kill()
    try:
        runs = [frail.submit([note("a"), note("b", "a")]) for _ in range(3)]
        if not over_rabbitmq():  # which is there: Redis keeps only the counts of its chords
            assert {frail.state(run) for run in runs} == {"queued"}
    finally:
        own_servers.valkey.start()
    for run in runs:
        frail.ends(run, within=60)
        frail.checks(run)


def test_an_api_killed_between_commit_and_send_loses_no_run(frail: Rig) -> None:
    document = {"name": "test.crash", "version": 1, "steps": [note("a"), note("b", "a")]}
    words = (str(frail.folder), str(frail.actor.tenant_id), "crashed", json.dumps(document))
    process = frail.start("crash", (sys.executable, "-m", "tests.support.crash", *words))
    assert process.wait() == -9, process.output
    found = frail.rows(
        "SELECT r.id FROM runs r JOIN intents i ON i.id = r.intent_id WHERE i.name = %s", "crashed"
    )
    assert len(found) == 1
    run = found[0]["id"]
    frail.ends(run, within=60)
    frail.checks(run)
