"""Commits whose answer is lost with the connection: who asked goes on as if it had heard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.bootstrap.celery import build_celery
from app.db.ids import new_id
from app.domain.leases import Child, Lease, StepMessage
from app.services.execute import StepResult, execute_step
from tasks.stretch import Stretch
from tests.support.rig import Rig, note, rig_on
from tests.support.wire import Wire

LEASE = Lease(new_id(), Child(1, 1), "hands")


@pytest.fixture(scope="module")
def wire(environ: dict[str, str]) -> Iterator[Wire]:
    with closing(Wire.before(environ)) as wire:
        yield wire


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], wire: Wire, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A rig whose app role talks by way of the wire; what a test looks at does not."""
    with rig_on(wire.surroundings(environ), tmp_path_factory.mktemp("rig")) as rig:
        yield rig


class Process:
    """A pool process as the step task is one, with a clock that the test moves."""

    def __init__(self, rig: Rig, run: Any) -> None:
        self.now = 0.0
        self.tenant = rig.run(run)["tenant_id"]
        self.run = run
        (first,) = [message for message in rig.messages() if message["id"].startswith(str(run))]
        self.request = SimpleNamespace(
            id=first["id"],
            root_id=first["id"],
            chain=first["chain"],
            delivery_info={"routing_key": "default"},
        )
        executor = build_celery(rig.settings).container.worker.executor
        self.executor = replace(executor, wait=self.wait)
        self.stretch = Stretch(
            self.request, StepMessage.of(first["args"]), enabled=True, closing=False, clock=lambda: self.now
        )

    def wait(self, seconds: float) -> None:
        """Pass the time of an outage at once."""
        self.now += 3.0

    def message(self, key: str) -> StepMessage:
        return StepMessage(self.tenant, self.run, key, 1)

    def go(self, ended: StepResult | None = None) -> StepResult:
        """Execute the first step, or the one after the step that ended."""
        if ended is not None:
            self.stretch.go(SimpleNamespace(tell=lambda *_, **__: None), ended)  # type: ignore[arg-type]  # Flower's
        claim = ended.claim if ended else None
        return execute_step(self.executor, self.stretch.task.message, LEASE, claim, self.stretch.ahead)


def test_who_claimed_the_next_step_unheard_goes_on_with_it_however_long_that_took(
    rig: Rig, wire: Wire
) -> None:
    run = rig.submit([note("a"), note("b", "a"), note("c", "b")])
    process = Process(rig, run)
    cut = wire.cut("finish_and_claim(")
    first = process.go()
    assert cut.struck.is_set()
    assert (rig.step(run, "a")["state"], rig.step(run, "b")["state"]) == ("succeeded", "running")
    assert first.following == process.message("b"), "nobody else may take what this process holds"
    second = process.go(first)
    assert (second.outcome, rig.step(run, "b")["tries"]) == ("succeeded", 1)


@pytest.mark.parametrize("words", ["claim_step(", "finish_step("])
def test_a_step_whose_claim_or_end_was_committed_unheard_runs_once(rig: Rig, wire: Wire, words: str) -> None:
    run = rig.submit([note("a")])
    process = Process(rig, run)
    cut = wire.cut(words)
    result = process.go()
    assert cut.struck.is_set()
    assert (result.ok, rig.step(run, "a")["tries"], rig.state(run)) == (True, 1, "succeeded")
    rig.checks(run)


@pytest.mark.parametrize("uses", ["note", "fail_first"])
def test_who_took_another_of_its_lot_unheard_goes_on_with_it(rig: Rig, wire: Wire, uses: str) -> None:
    # One process, whichever of these tests comes first: a lot has as many messages as there are.
    rig.rows("SELECT * FROM beat(%s, 'h', 1, 'v', ARRAY['default'], '[{}]')", LEASE.boot)
    given = {"attempts": 1, "retryable": False} if uses == "fail_first" else {}
    run = rig.submit([{"id": "each", "uses": f"testkit.{uses}", "foreach": "range(4)", "with": given}])
    process = Process(rig, run)
    cut = wire.cut("finish_and_take(")
    first = process.go()
    assert cut.struck.is_set()
    assert rig.step(run, "each.0")["state"] == ("succeeded" if uses == "note" else "failed")
    assert rig.step(run, "each.1")["state"] == "running"
    assert first.following is not None
    assert first.following.key == "each.1", "nobody else may take what this process holds"
    second = process.go(first)
    assert (second.operation, rig.step(run, "each.1")["tries"]) == (f"testkit.{uses}", 1)
