"""The outbox forgets what is old, but nothing that a sink has not got."""

from __future__ import annotations

from app.db.engine import Database
from app.db.prune import RELATIONS, Pruner
from app.services.prune import KEEP_S, prune
from tests.support.outbox import A


def test_only_old_events_that_every_sink_passed_go(rig):
    rig.emit(A, "runs/1", 1, 4)
    rig.relay().turn()
    rig.emit(A, "runs/1", 5, 6)
    rig.relay("other").outbox.number(10)
    pruner = Pruner(Database(rig.urls.system, "system"))
    assert pruner.delete("events", 3600, 100) == 0
    rig.system(
        "INSERT INTO relay_cursors (sink, shard, position)"
        " SELECT 'slow', shard, (SELECT max(position) - 4 FROM events) FROM relay_cursors"
    )
    assert pruner.delete("events", 0, 100) == 2
    rig.system("DELETE FROM relay_cursors WHERE sink = 'slow'")
    assert prune(pruner)["events"] == 0
    assert pruner.delete("events", 0, 100) == 2
    assert rig.system("SELECT seq FROM events ORDER BY seq") == [(5,), (6,)]
    floors = rig.system("SELECT tenant_id, position < (SELECT min(position) FROM events) FROM event_floors")
    assert [(str(tenant), below) for tenant, below in floors] == [(str(A), True)], "readers are told of it"


def test_every_relation_has_a_retention(rig):
    assert set(KEEP_S) == set(RELATIONS)
    assert prune(Pruner(Database(rig.urls.system, "system"))) == dict.fromkeys(RELATIONS, 0)
