"""Deaths between a sub-workflow's end, which is committed, its parent's step, which is not ended yet."""

from __future__ import annotations

from tests.support.rig import Rig, note
from tests.support.waiting import eventually


def test_a_worker_killed_before_it_tells_the_parent_is_made_good_by_recovery(busy: Rig) -> None:
    busy.worker("doomed", queues="doomed", concurrency=1)
    child = {
        "name": "test.doomed",
        "version": 1,
        "steps": [{"id": "last", "uses": "testkit.die_when_settled", "queue": "doomed"}],
        "output": {"step": "${steps.last.state}"},
    }
    steps = [{"id": "call", "workflow": "test.doomed"}, note("after", "call")]
    run = busy.submit_definition({"name": "test.widow", "version": 1, "steps": steps}, children=[child])
    eventually(lambda: _ended(busy, run), within=20, what="the child ended")
    busy.ends(run, within=20)
    assert busy.step(run, "call")["output"] == {"step": "succeeded"}
    (row,) = busy.rows("SELECT id, state FROM runs WHERE parent_run_id = %s", run)
    assert (row["state"], busy.step(row["id"], "last")["tries"]) == ("succeeded", 1)
    dead = "SELECT 1 FROM workers WHERE 'doomed' = ANY (queues) AND state = 'dead'"
    eventually(lambda: busy.rows(dead), within=30, what="the worker was killed")
    busy.checks(run)


def _ended(rig: Rig, run: object) -> bool:
    return bool(rig.rows("SELECT 1 FROM runs WHERE parent_run_id = %s AND state = 'succeeded'", run))
