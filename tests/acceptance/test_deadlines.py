"""The documents' example of a run that must not be late, run by real processes."""

from __future__ import annotations

from uuid import UUID

from app.services.cancel_run import cancel_run
from app.services.retry_run import retry_run
from app.services.submit import Submission, submit_intents
from tests.support.examples import submit_example
from tests.support.rig import Rig, note
from tests.support.waiting import eventually


def late_s(rig: Rig, run: UUID, limit: str) -> float:
    """Return how long after its limit the run ended."""
    found = rig.rows(
        f"SELECT extract(epoch FROM finished_at - {limit})::float AS late FROM runs WHERE id = %s", run
    )
    return float(found[0]["late"])


def test_a_run_in_time_succeeds_one_past_its_deadline_is_stopped_then_retried(rig: Rig) -> None:
    good = submit_example(rig, "deadline", {"seconds": 0.1})
    rig.ends(good)
    late = submit_example(rig, "deadline", {"seconds": 60}, name="examples.late", deadline="PT5S")
    eventually(lambda: rig.step(late, "slow")["started_at"], within=5, what="it begins in time")
    rig.ends(late, "failed")
    assert rig.run(late)["error"]["code"] == "deadline_exceeded"
    assert 0 <= late_s(rig, late, "deadline_at") < 4.0, "a second, then the beat that tells the worker"
    steps = rig.steps(late)
    assert [steps[key]["state"] for key in ("quick", "slow", "report")] == [
        "succeeded",
        "cancelled",
        "cancelled",
    ]
    assert steps["slow"]["error"]["code"] == "deadline_exceeded"
    retry_run(rig.base, rig.actor, late)
    eventually(lambda: rig.step(late, "slow")["state"] == "running", within=5)
    assert (rig.step(late, "slow")["round"], rig.step(late, "quick")["tries"]) == (1, 1)
    again = rig.run(late)
    assert again["deadline_at"] > steps["slow"]["finished_at"], "as long again"
    cancel_run(rig.base, rig.actor, late)
    rig.ends(late, "cancelled")


def test_a_run_that_no_worker_begins_fails_all_the_same(rig: Rig) -> None:
    steps = [note("a", queue="nobody")]
    deps = rig.deps({"name": "test.nobody", "version": 1, "steps": steps})
    mine = Submission(type="test.nobody", spec={}, limits={"queue_timeout": "PT0.5S"})
    run = submit_intents(deps, rig.actor, [mine, mine._replace(limits={})])[0].run_id
    assert run is not None
    rig.ends(run, "failed", within=10)
    assert rig.run(run)["error"]["code"] == "queue_timeout"
    assert rig.run(run)["started_at"] is None
    assert 0 <= late_s(rig, run, "begin_by") < 1.0
