"""The metrics of the API: gauges of the rows, of the host, the time of statements."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.bootstrap import build_api
from app.db.engine import Database
from app.observability.metrics import PLATFORM, render_metrics
from app.services.platform_gauges import FRESH_S, PlatformGauges
from app.settings import Settings
from tests.support.rig import Rig, note, rig_on


@pytest.fixture
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        yield rig


def test_a_step_nobody_takes_shows_its_queue_and_its_age(rig: Rig, settings: Settings) -> None:
    now = 100.0
    gauges = PlatformGauges(Database(settings.database_system_url, "system"), lambda: now)
    assert "quantum_queue_steps" not in {name for name, _, _ in gauges()}
    rig.submit([note("a")])
    assert "quantum_queue_steps" not in {name for name, _, _ in gauges()}  # read once in a while
    now += FRESH_S
    read = {(name, label): value for name, label, value in gauges()}
    assert read["quantum_queue_steps", "default"] == 1
    assert 0 < read["quantum_queue_oldest_seconds", "default"] < 60
    assert read["quantum_schedule_lag_seconds", ""] == 0
    assert 'quantum_queue_steps{queue="default"} 1.0' in render_metrics(gauges()).decode()


def test_a_database_that_is_away_shows_no_gauges() -> None:
    away = Database("postgresql://nobody:x@127.0.0.1:9/none", "system")
    assert PlatformGauges(away, lambda: 0.0)() == ()


def test_a_scrape_shows_the_host_and_the_time_of_statements(settings: Settings) -> None:
    parts = build_api(settings)
    parts.database.call("SELECT 1")
    gauges = parts.gauges()
    assert {name for name, _, _ in gauges} <= PLATFORM.keys()
    shown = render_metrics(gauges).decode()
    assert "quantum_host_disk_free_ratio 0." in shown
    assert 'quantum_db_seconds_count{role="app"}' in shown
