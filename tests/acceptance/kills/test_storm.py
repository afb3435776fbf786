"""Harm in the middle of much work: whatever was under way ends right."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import UUID

import pytest

from tests.support.rig import Rig, kill, note
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually

RUNS = 12


def work(rig: Rig) -> list[UUID]:
    """Submit chains and chords; return their runs."""
    slow = {"with": {"seconds": 0.1}}
    chain = [note("a", **slow), note("b", "a", **slow), note("c", "b", **slow), note("d", "c", **slow)]
    fork = [note("a"), *(note(name, "a", **slow) for name in ("b", "c", "d")), note("e", "b", "c", "d")]
    return [rig.submit(steps) for _ in range(RUNS // 2) for steps in (chain, fork)]


def done(rig: Rig, runs: list[UUID]) -> int:
    """Return how many steps of the runs have ended."""
    rig.revive()
    return int(
        rig.rows("SELECT count(*) AS n FROM run_steps WHERE run_id = ANY(%s) AND state = 'succeeded'", runs)[
            0
        ]["n"]
    )


def kill_a_process(rig: Rig, servers: PrivateServers) -> None:
    leased = rig.rows("SELECT lease_pid FROM run_steps WHERE state = 'running'")
    if leased:
        kill(random.choice(leased)["lease_pid"])


def kill_valkey(rig: Rig, servers: PrivateServers) -> None:
    servers.valkey.kill()
    servers.valkey.start()


def flush(rig: Rig, servers: PrivateServers) -> None:
    rig.redis.flushall()


def restart_postgres(rig: Rig, servers: PrivateServers) -> None:
    servers.postgres.kill()
    servers.postgres.start()


@pytest.mark.parametrize("harm", [kill_a_process, flush, kill_valkey, restart_postgres])
def test_all_runs_end_right_when_harm_comes_twice(
    frail: Rig, own_servers: PrivateServers, harm: Callable[[Rig, PrivateServers], None]
) -> None:
    runs = work(frail)
    for share in (8, 30):
        eventually(lambda share=share: done(frail, runs) >= share, within=30)
        assert done(frail, runs) < 9 * RUNS // 2, "work is still in flight"
        harm(frail, own_servers)
    for run in runs:
        frail.ends(run, within=90)
        frail.checks(run, kills=2 if harm is kill_a_process else 0)
