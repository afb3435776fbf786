"""What people do to runs: cancel them, retry them."""

from __future__ import annotations

import pytest

from app.services.cancel_run import cancel_run
from app.services.retry_run import retry_run
from tests.support.rig import Rig, note
from tests.support.waiting import eventually


@pytest.mark.parametrize("deaf", [False, True], ids=["heeds", "must be killed"])
def test_a_cancelled_run_stops_its_running_step(busy: Rig, deaf: bool) -> None:
    step = {"id": "long", "uses": "testkit.hold", "with": {"gate": "never", "deaf": deaf}}
    run = busy.submit([step, note("after", "long")])
    eventually(lambda: busy.ledger.begun(str(run), "long"), within=20)
    cancel_run(busy.base, busy.actor, run)
    busy.ends(run, "cancelled", within=30)
    assert [busy.step(run, key)["state"] for key in ("long", "after")] == ["cancelled", "cancelled"]


def test_an_operator_s_retry_runs_only_what_failed_or_never_ran(busy: Rig) -> None:
    steps = [
        note("done"),
        {"id": "broken", "uses": "testkit.fail_without", "with": {"gate": "mended"}, "needs": ["done"]},
        note("after", "broken"),
        note("apart", "done"),
    ]
    run = busy.submit(steps)
    busy.ends(run, "failed")
    busy.open_gate("mended")
    retry_run(busy.base, busy.actor, run)
    busy.ends(run)
    tries = {key: row["tries"] for key, row in busy.steps(run).items()}
    assert tries == {"done": 1, "broken": 2, "after": 1, "apart": 1}
    keys = [entry.idempotency_key for entry in busy.ledger.begun(str(run), "broken")]
    assert keys == [f"{run}:broken:0", f"{run}:broken:1"]
    busy.checks(run)
