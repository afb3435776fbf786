"""An operation that asks whether it is cancelled hears of it, with nobody there to interrupt it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from app.services.cancel_run import cancel_run
from tests.support.hands import Hands
from tests.support.rig import Rig, held
from tests.support.waiting import eventually


def test_an_operation_that_asks_is_told_within_two_seconds(rig: Rig) -> None:
    run = rig.submit([held("a", "gate")])
    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        stack.callback(rig.open_gate, "gate")  # whatever happens here, the operation ends
        ends = pool.submit(Hands(rig).perform, run, "a")
        eventually(lambda: rig.step(run, "a")["state"] == "running", within=5.0)
        cancel_run(rig.base, rig.actor, run)
        assert rig.state(run) == "cancelling"
        assert ends.result(timeout=3.0).outcome == "cancelled"
    assert rig.state(run) == "cancelled"
