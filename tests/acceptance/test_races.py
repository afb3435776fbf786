"""Races forced by barriers on open transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID

import psycopg2
import pytest

from app.services.advance import advance
from app.services.dispatch import Dispatch, dispatch
from app.services.schedule import claim_due
from app.services.submit import Submission, submit_intents
from tests.support.rig import Rig, note, rig_on
from tests.support.waiting import eventually


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


class Dropped:
    """An API that accepts but never sends: the broker was away when it looked."""

    def epoch(self) -> str | None:
        return None

    def later(self, job: Callable[[], None]) -> None:
        """Drop it."""


def unsent(rig: Rig) -> UUID:
    """Accept a fork-join without sending it; return its run."""
    name = "test.race"
    steps = [note("a"), note("b"), note("c"), note("join", "a", "b", "c")]
    deps = replace(rig.deps({"name": name, "version": 1, "steps": steps}), outbox=Dropped())
    run = submit_intents(deps, rig.actor, [Submission(type=name, spec={})])[0].run_id
    assert run is not None
    return run


def waiting_for_locks(rig: Rig) -> int:
    """Return how many sessions of this database wait for a lock."""
    return int(
        rig.rows(
            "SELECT count(DISTINCT w.pid) AS n FROM pg_locks w WHERE NOT w.granted AND w.pid IN (SELECT l.pid"
            " FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database())"
        )[0]["n"]
    )


def ids(rig: Rig, runs: Sequence[UUID]) -> list[str]:
    """Return the ids of the messages of these runs that wait."""
    mine = tuple(map(str, runs))
    return sorted(message["id"] for message in rig.messages() if message["id"].startswith(mine))


def test_two_advances_of_one_run_send_each_step_once(rig: Rig) -> None:
    run = unsent(rig)
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2))
        blocker = psycopg2.connect(rig.settings.database_system_url)
        stack.callback(blocker.close)
        with blocker.cursor() as cursor:
            cursor.execute("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (run,))
        jobs = [pool.submit(advance, rig.base.engine, rig.actor.tenant_id, run) for _ in range(2)]
        eventually(lambda: waiting_for_locks(rig) == 2, within=10, what="both wait for the run")
        blocker.rollback()
        for job in jobs:
            job.result(20)
    assert ids(rig, [run]) == [f"{run}:{key}:1" for key in "abc"]


def test_two_dispatchers_send_each_step_once(rig: Rig) -> None:
    runs = [unsent(rig) for _ in range(20)]
    parts = rig.beat_parts
    barrier = threading.Barrier(2)

    def at_once() -> int:
        barrier.wait(10)
        return dispatch(Dispatch(parts.dispatch.engine, parts.dispatch.system))

    def due() -> bool:
        rows = rig.rows(
            "SELECT count(DISTINCT run_id) AS n FROM run_steps WHERE run_id = ANY(%s)"
            " AND ready_at < clock_timestamp() - interval '1 second'",
            runs,
        )
        return bool(rows[0]["n"] == len(runs))

    eventually(due, within=10, what="the steps are unsent for a second")
    with ThreadPoolExecutor(2) as pool:
        found = [job.result(30) for job in [pool.submit(at_once) for _ in range(2)]]
    assert max(found) >= len(runs), "a dispatcher saw all of them"
    assert ids(rig, runs) == sorted(f"{run}:{key}:1" for run in runs for key in "abc")


def test_two_beats_never_claim_one_job_at_once(rig: Rig) -> None:
    names = {f"job{number}": 60.0 for number in range(20)}
    barrier = threading.Barrier(2)

    def claim() -> list[str]:
        barrier.wait(10)
        return claim_due(rig.beat_parts.dispatch.system, "race", names)

    assert rig.beat_parts
    with ThreadPoolExecutor(2) as pool:
        first, second = (job.result(20) for job in [pool.submit(claim) for _ in range(2)])
    assert sorted(first + second) == sorted(names)
    assert claim_due(rig.beat_parts.dispatch.system, "race", names) == []
