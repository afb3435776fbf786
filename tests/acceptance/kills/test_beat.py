"""The death of beat at the worst moment of a firing."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg2

from app.services.manage_schedules import create_schedule
from tests.support.rig import Rig
from tests.support.waiting import eventually

NIGHTLY = {
    "name": "nightly",
    "type_name": "core.echo",
    "spec": {"message": "${run.scheduled_at}"},
    "labels": {},
    "priority": 0,
    "overlap": "allow",
    "catch_up": "all",
    "catch_up_window_s": 86_400.0,
}
BLOCKED = "SELECT count(*) AS n FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
HISTORY = "SELECT outcome, run_id FROM schedule_firings WHERE tenant_id = %s"


def test_a_beat_killed_between_declaring_and_noting_costs_no_firing_and_doubles_none(rig: Rig) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1)
    made = create_schedule(rig.base, rig.actor, {**NIGHTLY, "at": at})
    tenant = rig.actor.tenant_id
    with closing(psycopg2.connect(rig.settings.database_system_url)) as holder, holder.cursor() as cursor:
        # The number of the event that tells of the firing is taken: beat has declared the intent, and waits.
        name = f"schedules/{made['id']}"
        cursor.execute("SELECT emit_event(%s, %s, 2, 'schedule.fired', '{}', '{}')", (str(tenant), name))
        pid = holder.info.backend_pid
        first = rig.beat("first")
        eventually(lambda: rig.rows(BLOCKED, pid)[0]["n"] > 0, within=30, what="beat is in the middle of it")
        first.kill()
        holder.rollback()
    rig.beat("second")
    (firing,) = eventually(lambda: rig.rows(HISTORY, tenant), within=30)
    assert firing["outcome"] == "started"
    assert rig.rows("SELECT id FROM runs WHERE tenant_id = %s", tenant) == [{"id": firing["run_id"]}]
    told = rig.rows("SELECT seq, type FROM events WHERE subject = %s ORDER BY seq", name)
    assert [(row["seq"], row["type"].rpartition(".")[2]) for row in told] == [(1, "created"), (2, "fired")]
