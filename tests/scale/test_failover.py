"""A primary dies under work, its synchronous standby takes its address: nothing accepted is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from uuid import UUID

import psycopg2
import pytest

from app.domain.errors import Unavailable
from app.runtime.valkey import ValkeyServer
from tests.support.replica import Replicated, replicated_servers
from tests.support.rig import Rig, held, note, rig_on
from tests.support.servers import surroundings
from tests.support.waiting import eventually

pytestmark = pytest.mark.scale

RUNS = 40
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def servers() -> Iterator[Replicated]:
    """A primary whose commits wait for its standby."""
    with replicated_servers() as servers:
        with (
            contextlib.closing(psycopg2.connect(servers.primary.url())) as session,
            session.cursor() as cursor,
        ):
            session.autocommit = True  # ALTER SYSTEM runs in no transaction
            cursor.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            cursor.execute("SELECT pg_reload_conf()")
        yield servers


@pytest.fixture(scope="module")
def rig(servers: Replicated, valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("failover")
    with rig_on(surroundings(folder, servers.urls, valkey.url), folder) as rig:
        rig.beat()
        rig.kept_worker()
        yield rig


def fail_over(servers: Replicated) -> None:
    """Kill the primary, promote the standby, let it serve where the primary did."""
    port = servers.primary.port
    servers.primary.kill()
    servers.ask("SELECT pg_promote()")
    eventually(lambda: not servers.ask("SELECT pg_is_in_recovery()"), within=30)
    servers.standby.stop()
    servers.standby.start(port)
    assert servers.standby.port == port


def submitted(rig: Rig) -> UUID | None:
    """Submit a run; None while the database is away."""
    with contextlib.suppress(Unavailable):
        return rig.submit([note("a"), note("b", "a")])
    return None


def test_a_promoted_standby_goes_on_with_every_accepted_run(rig: Rig, servers: Replicated) -> None:
    runs: list[UUID] = [rig.submit([held("hold", "over"), note("after", "hold")]) for _ in range(2)]
    eventually(lambda: all(rig.count(run, "running") == 1 for run in runs), within=60)
    runs += [
        rig.submit([note("a"), note("b", "a"), note("c", "a"), note("d", "b", "c")]) for _ in range(RUNS)
    ]
    fail_over(servers)
    rig.open_gate("over")
    runs.append(eventually(lambda: submitted(rig), within=60))
    for run in runs:
        rig.ends(run, within=WITHIN_S)
        rig.checks(run)
    events = rig.rows(
        "SELECT subject FROM events WHERE tenant_id = %s AND type = 'io.quantum.run.succeeded'",
        rig.actor.tenant_id,
    )
    assert sorted(row["subject"] for row in events) == sorted(f"runs/{run}" for run in runs)
