"""Ten thousand schedules that are due in the same second."""

from __future__ import annotations

import time
from uuid import UUID

import pytest

from app.db.engine import Database
from app.services.fire_schedules import fire_schedules
from app.settings import Settings
from tests.support.http_api import start_platform
from tests.support.servers import DatabaseUrls

pytestmark = pytest.mark.scale

SCHEDULES = 10_000
TENANTS = 20
WITHIN_S = 5.0
SLACK = 4.0
"""For machines that are slower, or busy with other tests."""

FILL = """
  INSERT INTO schedules (tenant_id, id, name, type_name, spec, every_s, start_at, overlap, catch_up,
                         catch_up_window_s, next_at, due_at)
  SELECT %(tenant)s::uuid, gen_random_uuid(), n::text, 'core.echo',
         '{"message": "${run.scheduled_at}"}', 3600,
         moment, 'skip', 'latest', 60, moment, moment
  FROM generate_series(1, %(many)s) n, (SELECT date_trunc('second', clock_timestamp()) AS moment) now
  RETURNING 1
"""


def test_all_are_fired_within_seconds(settings: Settings, database_urls: DatabaseUrls) -> None:
    platform = start_platform(settings)
    admin = Database(database_urls.admin, "admin")
    for _ in range(TENANTS):
        tenant = UUID(platform.tenant()[1].tenant_id)
        admin.call(FILL, {"tenant": tenant, "many": SCHEDULES // TENANTS})
    began = time.monotonic()
    fired = 0
    while fired < SCHEDULES and time.monotonic() - began < WITHIN_S * SLACK:
        fired += fire_schedules(platform.parts.submit, platform.parts.platform)
    spent = time.monotonic() - began
    print(f"{fired} schedules fired in {spent:.1f} s")
    assert fired == SCHEDULES
    counted = "SELECT count(*), count(DISTINCT schedule_id) FROM schedule_firings WHERE outcome = 'started'"
    assert admin.call(counted) == [(SCHEDULES, SCHEDULES)]
    assert spent < WITHIN_S * SLACK
