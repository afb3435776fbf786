"""The faults: each does its harm to the end, then hands over a look that tells when its mark is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

import psycopg2
import psycopg2.errors

from tests.chaos.fleet import BEATS, CHILDREN, RELAYS, WORKERS
from tests.chaos.scene import Held, Scene, steps_of
from tests.support.processes import OsProcess, children_of
from tests.support.waiting import eventually

Look = Callable[[], bool]
Strike = Callable[[Scene, Sequence[Held]], Look]
HOUR_S = 3700.0
WARM_S = 60.0
LATE_EVENTS = """
  SELECT count(*) AS n FROM events e JOIN relay_cursors c ON c.shard = e.shard
  WHERE e.created_at < %s AND (e.position IS NULL OR e.position > c.position)
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """`target_s` bounds the 95th percentile of its recovery; `kills` tells that it ends what runs."""

    name: str
    strike: Strike
    target_s: float | None = None
    kills: bool = False


def pool_child(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill one pool process that holds a step."""
    return scene.moved(eventually(lambda: _killed(scene), within=30, every=0.01, what="a step is hit"))


def _killed(scene: Scene) -> list[Held]:
    """Kill the process of the step that died least, or chance would make poison; return what it held."""
    running = [step for step in scene.in_flight() if step.pid is not None]
    if not running:
        return []
    victim = min(running, key=lambda step: (step.kills, step.age_s))
    assert victim.pid is not None
    scene.killed_children.add(victim.pid)
    with suppress(ProcessLookupError):  # it ended a moment ago
        os.kill(victim.pid, signal.SIGKILL)
    return steps_of(scene.in_flight(), victim.boot, victim.pid)


def worker(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill a worker with all its children."""
    name = scene.random.choice(WORKERS)
    boot = scene.boot_of(scene.fleet.processes[name].pid)
    eventually(lambda: steps_of(scene.in_flight(), boot), within=30, what="the worker executes something")
    scene.fleet.kill(name)
    return scene.moved(steps_of(scene.in_flight(), boot))


def warm_shutdown(scene: Scene, held: Sequence[Held]) -> Look:
    """Ask a worker to end: it finishes what runs, gives back what waits in it."""
    name = scene.random.choice(WORKERS)
    process = scene.fleet.processes[name]
    pid, boot = process.pid, scene.boot_of(process.pid)
    process.send(signal.SIGTERM)
    eventually(lambda: pid in scene.fleet.ended, within=WARM_S, what="the worker ends")
    return both(scene.moved(steps_of(held, boot)), back(scene, process, pid))


def back(scene: Scene, process: OsProcess, former: int) -> Look:
    """Return a look that tells whether the worker was started again, and beats."""

    def beats() -> bool:
        found = "SELECT count(*) AS n FROM workers WHERE pid = %s AND jsonb_array_length(children) >= %s"
        return process.pid != former and scene.count(found, process.pid, CHILDREN) > 0

    return beats


def api(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill the API in the middle of requests."""
    eventually(lambda: scene.asking() > 0, within=30, every=0.005, what="a submission is under way")
    pid = scene.fleet.kill("api")
    return lambda: scene.fleet.processes["api"].pid != pid and scene.fleet.api_answers()


def relay(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill one of two relays; the other takes over its shards."""
    since = scene.now()
    scene.fleet.kill(scene.random.choice(RELAYS))
    return lambda: scene.count(LATE_EVENTS, since) == 0


def beat(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill one of two beats."""
    scene.fleet.kill(scene.random.choice(BEATS))
    since = scene.now()
    look = "SELECT count(*) AS n FROM beat_jobs WHERE name IN ('recover', 'dispatch') AND last_at > %s"
    return lambda: scene.count(look, since) == 2


def valkey_killed(scene: Scene, held: Sequence[Held]) -> Look:
    """Kill Valkey, start it on what it had written."""
    valkey = scene.fleet.servers.valkey
    valkey.kill()
    valkey.start()
    return scene.moved(held)


def valkey_flushed(scene: Scene, held: Sequence[Held]) -> Look:
    """Let Valkey forget everything."""
    scene.redis().flushall()
    return scene.moved(held)


def valkey_away(scene: Scene, held: Sequence[Held]) -> Look:
    """Freeze Valkey."""
    freeze([scene.fleet.servers.valkey.pid], scene.valkey_away_s)
    return scene.moved(held)


def valkey_full(scene: Scene, held: Sequence[Held]) -> Look:
    """Let Valkey refuse every write for want of memory."""
    client = scene.redis()
    client.config_set("maxmemory", 1)
    try:
        pause(scene.brief_s)
    finally:
        client.config_set("maxmemory", 0)
    return scene.moved(held)


def postgres_restarted(scene: Scene, held: Sequence[Held]) -> Look:
    """Stop PostgreSQL in immediate mode: no checkpoint, crash recovery at the next start."""
    postgres = scene.fleet.servers.postgres
    os.kill(postgres.pid, signal.SIGQUIT)
    eventually(lambda: not postgres.running, within=30, what="PostgreSQL stops")
    postgres.start()
    return scene.moved(held)


def postgres_away(scene: Scene, held: Sequence[Held]) -> Look:
    """Freeze PostgreSQL with all its sessions."""
    postmaster = scene.fleet.servers.postgres.pid
    os.kill(postmaster, signal.SIGSTOP)  # first, so that it makes no more children
    freeze([*children_of(postmaster), postmaster], scene.away_s)
    return scene.moved(held)


def connections_spent(scene: Scene, held: Sequence[Held]) -> Look:
    """Refuse new sessions of every role of the platform, end those it has."""
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY (%s)"
    roles = ["quantum_app", "quantum_system"]
    try:
        for role in roles:
            scene.rows(f"ALTER ROLE {role} CONNECTION LIMIT 0")
        scene.rows(end, roles)
        pause(scene.brief_s)
    finally:
        for role in roles:
            scene.rows(f"ALTER ROLE {role} CONNECTION LIMIT -1")
    return scene.moved(held)


def deadlock(scene: Scene, held: Sequence[Held]) -> Look:
    """Hold a step that its worker is about to finish, then want its run: the worker's call must lose."""
    before = scene.count("SELECT deadlocks AS n FROM pg_stat_database WHERE datname = 'quantum'")
    eventually(lambda: entangle(scene), within=60, every=0.2, what="a deadlock with a worker")
    eventually(
        lambda: scene.count("SELECT deadlocks AS n FROM pg_stat_database WHERE datname = 'quantum'") > before,
        within=20,
        what="PostgreSQL counts the deadlock",
    )
    return scene.moved(held)


def entangle(scene: Scene) -> bool:
    """Try to bring one worker into a deadlock that it loses; tell whether that went so."""
    running = [step for step in scene.in_flight() if step.state == "running"]
    if not running:
        return False
    step = scene.random.choice(running)
    with closing(psycopg2.connect(scene.admin_url)) as ours, ours.cursor() as cursor:
        # Theirs is checked after one second, ours later: so theirs is the one that PostgreSQL ends.
        cursor.execute("SET deadlock_timeout = '5s'")
        cursor.execute(
            "SELECT 1 FROM run_steps WHERE run_id = %s AND key = %s AND tries = %s AND state = 'running'"
            " FOR UPDATE",
            (step.run, step.key, step.tries),
        )
        if cursor.fetchone() is None:
            return False
        blocks = "SELECT count(*) AS n FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        with suppress(AssertionError):  # nobody came for it
            eventually(lambda: scene.count(blocks, ours.info.backend_pid), within=5, every=0.02)
            try:
                cursor.execute("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (step.run,))
            except psycopg2.errors.DeadlockDetected:
                return False
            return True
    return False


def clock_jumps(scene: Scene, held: Sequence[Held]) -> Look:
    """Let the clock of every process jump an hour ahead, then an hour back, then right again."""
    try:
        for shift in (HOUR_S, -HOUR_S):
            scene.fleet.shift_clock(shift)
            pause(scene.brief_s)
    finally:
        scene.fleet.shift_clock(0.0)
    return scene.moved(held)


def disk_full(scene: Scene, held: Sequence[Held]) -> Look:
    """Let no artifact reach its disk: the file layer of every process says that there is no room."""
    scene.fleet.fill_disk(full=True)
    refused = "SELECT count(*) AS n FROM step_attempts WHERE error ->> 'code' = 'artifact_store_full'"
    before = scene.count(refused)
    try:
        eventually(lambda: scene.count(refused) > before, within=60, what="an artifact finds no room")
        pause(scene.brief_s)
    finally:
        scene.fleet.fill_disk(full=False)
    waiting = "SELECT count(*) AS n FROM run_steps WHERE state::text = 'waiting'"
    waiting += " AND error ->> 'code' = 'artifact_store_full'"
    return both(scene.moved(held), lambda: scene.count(waiting) == 0)


def freeze(pids: Sequence[int], seconds: float) -> None:
    """Stop processes in their tracks for a time."""
    signalled(pids, signal.SIGSTOP)
    try:
        pause(seconds)
    finally:
        signalled(pids, signal.SIGCONT)


def signalled(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # a session that just ended
            os.kill(pid, number)


def pause(seconds: float) -> None:
    """Let an outage last."""
    threading.Event().wait(seconds)


def both(*looks: Look) -> Look:
    return lambda: all(look() for look in looks)


FAULTS: tuple[Fault, ...] = (
    Fault("pool child killed", pool_child, target_s=2.0, kills=True),
    Fault("worker killed", worker, target_s=10.0, kills=True),
    Fault("worker warm shutdown", warm_shutdown),
    Fault("API killed", api),
    Fault("relay killed", relay),
    Fault("beat killed", beat),
    Fault("Valkey killed", valkey_killed),
    Fault("Valkey FLUSHALL", valkey_flushed),
    Fault("Valkey away", valkey_away),
    Fault("Valkey memory full", valkey_full),
    Fault("PostgreSQL restart", postgres_restarted),
    Fault("PostgreSQL away", postgres_away),
    Fault("PostgreSQL deadlock", deadlock),
    Fault("connection limit", connections_spent),
    Fault("clock jumps", clock_jumps),
    Fault("artifact disk full", disk_full),
)


def named(words: Sequence[str], faults: Sequence[Fault] = FAULTS) -> tuple[Fault, ...]:
    """Return those of the faults whose names hold one of the words, or all when there is none."""
    chosen: list[Any] = [
        fault for fault in faults if not words or any(word.lower() in fault.name.lower() for word in words)
    ]
    if not chosen:
        raise SystemExit(f"no fault is named so; there are: {', '.join(fault.name for fault in faults)}")
    return tuple(chosen)
