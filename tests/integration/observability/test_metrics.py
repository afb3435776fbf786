"""The metrics of the API: gauges of the rows, of the host, of processes with their pools."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.bootstrap.api import build_api
from app.db.engine import Database
from app.db.gauges import read_gauges, read_tenants
from app.db.pools import tell_pools
from app.domain.errors import Unavailable
from app.domain.flags import FLAGS
from app.observability import host
from app.observability.metrics import PLATFORM, REGISTRY, render_metrics, serve_metrics, share_metrics
from app.observability.process import ProcessGauges
from app.runtime.ports import free_port
from app.services.platform_gauges import FRESH_S, PlatformGauges, flag_gauges
from app.settings import Settings, inherited_environment
from tests.support.rig import Rig, note, rig_on

CHILD = """
import os, sys
from app.observability.process import ProcessGauges
ProcessGauges("probe").tell()
print(os.getpid())
"""


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


@pytest.fixture(scope="module")
def system(settings: Settings) -> Database:
    return Database(settings.database_system_url, "system")


def told(gauges: object) -> dict[tuple[str, str], float]:
    return {(name, label): value for name, label, value in gauges}  # type: ignore[attr-defined]  # a list of gauges


def test_a_step_nobody_takes_shows_its_queue_its_age_its_demand(rig: Rig, system: Database) -> None:
    now = 100.0
    gauges = PlatformGauges(partial(read_gauges, system), lambda: now)
    before = told(gauges())
    steps = before.get(("quantum_queue_steps", "default"), 0) + 1
    demand = before.get(("quantum_queue_demand_slots", "default"), 0) + 1
    rig.submit([note("a")])
    assert told(gauges()) == before  # read once in a while
    now += FRESH_S
    read = told(gauges())
    assert read["quantum_queue_steps", "default"] == steps
    assert read["quantum_queue_demand_slots", "default"] == demand
    assert ("quantum_queue_slots_busy", "default") not in read
    assert 0 < read["quantum_queue_oldest_seconds", "default"] < 60
    assert read["quantum_schedule_lag_seconds", ""] == 0
    assert f'quantum_queue_steps{{queue="default"}} {steps:.1f}' in render_metrics(gauges()).decode()


def test_a_worker_shows_its_slots_a_running_step_is_busy(rig: Rig, system: Database) -> None:
    boot, children = uuid4(), '[{"pid": 1, "born": 1}, {"pid": 2, "born": 2}, {"pid": 3, "born": 3}]'
    system.call(
        "SELECT * FROM beat(%s, 'w@h', 1, '1', ARRAY['default', 'io'], %s::jsonb, 1, 'active')",
        (boot, children),
    )
    before = told(read_gauges(system)).get(("quantum_queue_demand_slots", "default"), 0)
    run = rig.submit([note("a")])
    rig.rows("UPDATE run_steps SET state = 'running', lease_boot = %s WHERE run_id = %s", boot, run)
    read = told(read_gauges(system))
    assert (read["quantum_queue_slots", "default"], read["quantum_queue_slots", "io"]) == (3, 3)
    assert read["quantum_queue_slots_busy", "default"] == 1
    assert read["quantum_queue_demand_slots", "default"] == before + 1
    rig.rows("UPDATE run_steps SET state = 'ready', lease_boot = NULL WHERE run_id = %s", run)
    system.call("DELETE FROM workers WHERE boot = %s", (boot,))


def test_a_worker_that_died_is_lost_until_another_of_its_name_comes(system: Database) -> None:
    first, second = uuid4(), uuid4()

    def beats(boot: UUID) -> None:
        system.call("SELECT * FROM beat(%s, 'lost@h', 1, '1', ARRAY['default'], '[]', 1, 'active')", (boot,))

    def lost() -> float:
        return told(read_gauges(system)).get(("quantum_workers", "lost"), 0)

    before = lost()
    beats(first)
    assert lost() == before
    system.call("UPDATE workers SET state = 'dead' WHERE boot = %s", (first,))
    assert lost() == before + 1
    system.call("UPDATE workers SET seen_at = seen_at - interval '61 minutes' WHERE boot = %s", (first,))
    assert lost() == before, "its host may be gone for good"
    system.call("UPDATE workers SET seen_at = seen_at + interval '61 minutes' WHERE boot = %s", (first,))
    beats(second)
    assert lost() == before
    system.call("DELETE FROM workers WHERE hostname = 'lost@h'")


def test_what_an_operator_holds_is_no_demand(rig: Rig, system: Database) -> None:
    actor = rig.tenant()
    before = told(read_gauges(system)).get(("quantum_queue_demand_slots", "default"), 0)
    run = rig.submit([note("a")], actor=actor)
    rig.rows("UPDATE run_steps SET sent_at = NULL WHERE run_id = %s", run)
    assert told(read_gauges(system))["quantum_queue_demand_slots", "default"] == before + 1
    rig.rows("UPDATE tenants SET state = 'suspended' WHERE id = %s", actor.tenant_id)
    assert told(read_gauges(system)).get(("quantum_queue_demand_slots", "default"), 0) == before


def test_those_tenants_that_use_most_are_named_the_others_summed(rig: Rig, system: Database) -> None:
    actors = [rig.tenant() for _ in range(4)]
    for number, actor in enumerate(actors):
        system.call(
            "INSERT INTO usage_days (tenant_id, day, runs_succeeded, step_seconds, events)"
            " VALUES (%s, (clock_timestamp() AT TIME ZONE 'UTC')::date, 1, %s, 10)",
            (actor.tenant_id, 1000 + number),
        )
        system.call(
            "INSERT INTO usage_days (tenant_id, day, step_seconds)"
            " VALUES (%s, (clock_timestamp() AT TIME ZONE 'UTC')::date - 1, 1e9)",
            (actor.tenant_id,),
        )
    read = told(read_tenants(system, 2))
    seconds = {label: value for (name, label), value in read.items() if name.endswith("step_seconds")}
    first, second = actors[3].tenant_slug, actors[2].tenant_slug
    assert {name: seconds[name] for name in (first, second)} == {first: 1003, second: 1002}
    assert len(seconds) == 3, "two, then all others as one"
    assert seconds["(others)"] >= 2001
    assert read["quantum_tenant_day_events", first] == 10
    assert {name for name, _ in told(read_tenants(system, 0))} == {"quantum_tenants"}


def test_adoption_of_a_flag_counts_the_active_tenants_it_is_on_for(rig: Rig, system: Database) -> None:
    tenants = [rig.tenant().tenant_id for _ in range(3)]
    active = int(system.call("SELECT count(*) FROM tenants WHERE state = 'active'")[0][0])
    assert told(flag_gauges(system)) == {("quantum_flag_tenants", name): active for name in FLAGS}
    system.call("INSERT INTO feature_flags (name, percentage) VALUES ('live_feed', 0), ('webhooks', 100)")
    system.call(
        "INSERT INTO flag_overrides (tenant_id, name, enabled, reason) VALUES (%s, 'live_feed', true, 'x')",
        (tenants[0],),
    )
    system.call("INSERT INTO feature_flags (name, killed) VALUES ('bulk_actions', true)")
    read = {label: value for (_, label), value in told(flag_gauges(system)).items()}
    assert (read["live_feed"], read["webhooks"], read["bulk_actions"]) == (1, active, 0)
    system.call("DELETE FROM flag_overrides")
    system.call("DELETE FROM feature_flags")


def test_a_database_that_is_away_shows_no_gauges() -> None:
    away = Database("postgresql://nobody:x@127.0.0.1:9/none", "system")
    assert PlatformGauges(partial(read_gauges, away), lambda: 0.0)() == ()


def test_a_scrape_shows_the_host_and_the_time_of_statements(settings: Settings) -> None:
    parts = build_api(settings)
    parts.database.call("SELECT 1")
    gauges = parts.gauges()
    assert {name for name, _, _ in gauges} <= PLATFORM.keys()
    shown = render_metrics(gauges).decode()
    assert "quantum_host_disk_free_ratio 0." in shown
    assert 'quantum_db_seconds_count{role="app"}' in shown
    assert "# TYPE quantum_host_cpu_seconds_total counter" in shown


@pytest.mark.skipif(not host.PROC.joinpath("stat").exists(), reason="this kernel shows no /proc")
def test_the_host_is_told_as_its_kernel_counts(tmp_path: Path) -> None:
    read = told(host.host_figures(tmp_path))
    assert read["quantum_host_cpu_seconds_total", "idle"] > 0
    assert 0 < read["quantum_host_memory_free_ratio", ""] <= 1
    disks = tmp_path / "diskstats"
    disks.write_text(
        "8 0 sda 10 0 100 0 20 0 200 0 0 0 0\n8 1 sda1 9 0 90 0 0 0 0 0 0 0 0\n7 0 loop0 1 0 9 0 0 0 0\n"
    )
    for name in ("sda", "loop0"):
        (tmp_path / "block" / name).mkdir(parents=True)
    assert told(host._disks(disks, tmp_path / "block")) == {
        ("quantum_host_disk_bytes_total", "read"): 100 * 512,
        ("quantum_host_disk_bytes_total", "written"): 200 * 512,
    }
    net = tmp_path / "dev"
    net.write_text("Inter-|\n face |bytes\n lo: 9 0 0 0 0 0 0 0 9 0\n eth0: 5 0 0 0 0 0 0 0 7 0\n")
    assert sorted(told(host._network(net)).values()) == [5, 7]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_a_pool_tells_who_has_its_connections_and_that_none_is_left(settings: Settings) -> None:
    pool = Database(settings.database_url, "probe", pool_size=1, overflow=1, wait_s=0.05)
    tell_pools()
    assert sample("quantum_db_connections_limit", role="probe") == 2
    with pool.system(), pool.system():
        tell_pools()
        assert sample("quantum_db_connections", role="probe", state="used") == 2
        before = sample("quantum_db_pool_exhausted_total")
        with pytest.raises(Unavailable, match="every connection"), pool.system():
            pass
        assert sample("quantum_db_pool_exhausted_total") == before + 1
    pool.call("SELECT 1")
    tell_pools()
    assert sample("quantum_db_connections", role="probe", state="used") == 0
    assert sample("quantum_db_connections", role="probe", state="idle") >= 1


def test_a_process_tells_what_it_uses_also_after_a_fork() -> None:
    seconds = iter([1.5, 2.0, 2.0])
    gauges = ProcessGauges("forked", lambda: next(seconds))
    gauges.tell()
    gauges.tell()
    assert sample("quantum_process_cpu_seconds_total", process="forked") == 2.0
    assert sample("quantum_processes", process="forked") == 1
    assert sample("quantum_process_memory_bytes", process="forked") > 1e6
    gauges._pid = -1  # as in a child, whose processor time begins at nothing
    gauges.tell()
    assert sample("quantum_process_cpu_seconds_total", process="forked") == 4.0


def test_what_a_dead_process_said_of_itself_is_forgotten_what_it_counted_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its gauges would count on for ever: the library forgets them only when it is told."""
    environ = {**inherited_environment(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", CHILD], env=environ, capture_output=True, text=True, check=True, timeout=60
    )
    pid = int(ran.stdout)
    assert (tmp_path / f"gauge_livesum_{pid}.db").exists()
    (tmp_path / f"gauge_livesum_{os.getpid()}.db").write_bytes(
        (tmp_path / f"gauge_livesum_{pid}.db").read_bytes()
    )
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    share_metrics(tmp_path)
    try:
        text = render_metrics().decode()
    finally:
        share_metrics(None)
    assert 'quantum_processes{process="probe"} 1.0' in text, "one of the two lives"
    assert 'quantum_process_cpu_seconds_total{process="probe"}' in text
    assert not (tmp_path / f"gauge_livesum_{pid}.db").exists()


def test_metrics_are_served_at_a_port_of_their_own() -> None:
    port = free_port()
    serve_metrics("127.0.0.1", port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert "# TYPE quantum_db_connections gauge" in answer.read().decode()
