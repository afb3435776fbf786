"""A queue longer than the recovery interval: what waits is not lost, so nothing is sent twice."""

from __future__ import annotations

from tests.support.rig import Rig, note
from tests.support.waiting import eventually, holds

STEPS = 10_000


def test_ten_thousand_queued_steps_are_never_sent_again(rig: Rig) -> None:
    fan = {"id": "fan", "uses": "core.echo", "foreach": "range(spec.n)", "with": {"message": "${item}"}}
    run = rig.submit([fan, note("join", "fan")], {"n": STEPS})
    assert rig.depth() == STEPS
    rig.beat()

    def looks() -> int:
        found = rig.rows("SELECT last_at FROM beat_jobs WHERE name = 'lost_messages'")
        return len(found)

    def untouched() -> bool:
        rows = rig.rows(
            "SELECT count(*) AS n, max(dispatch_epoch) AS epoch FROM run_steps WHERE run_id = %s"
            " AND item IS NOT NULL AND state = 'ready' AND sent_at IS NOT NULL",
            run,
        )[0]
        return (rows["n"], rows["epoch"], rig.depth()) == (STEPS, 1, STEPS)

    eventually(looks, within=20, what="beat looks for lost messages")
    # Longer than the three seconds after which steps are looked at, plus several looks.
    holds(untouched, during=8, every=0.5)
    worker = rig.worker()
    eventually(lambda: rig.depth() < STEPS - 100, within=30, what="the queue shrinks")
    worker.stop()
    ran = rig.rows(
        "SELECT max(tries) AS tries, max(dispatch_epoch) AS epoch FROM run_steps WHERE run_id = %s", run
    )
    assert ran == [{"tries": 1, "epoch": 1}]
