"""The platform at a glance, drawn once by the shell."""

from __future__ import annotations

from tests.support.rig import Rig, held
from tests.support.shell import Quantum
from tests.support.waiting import eventually


def test_top_shows_queues_workers_and_the_step_that_runs(rig: Rig, quantum: Quantum) -> None:
    run = rig.submit([held("a", "top")])
    eventually(lambda: rig.ledger.begun(str(run), "a"), within=30)
    found = quantum.json("top")
    [step] = [each for each in found["steps"] if each["run_id"] == str(run)]
    assert (step["key"], step["tries"], step["tenant"]) == ("a", 1, rig.actor.tenant_slug)
    assert step["worker"] in {each["name"] for each in found["workers"]}
    assert [each["running"] for each in found["queues"] if each["queue"] == "default"] == [1]
    drawn = quantum("top", "--once").stdout
    for word in ("Queues", "Workers", "Steps that run longest", "default", "Tenants today"):
        assert word in drawn
    rig.open_gate("top")
    rig.ends(run)
