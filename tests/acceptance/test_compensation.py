"""The documents' example of a compensation, run by real processes, one of which is killed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import IllegalState
from app.services.cancel_run import cancel_run
from app.services.pause_run import pause_run
from app.services.retry_run import retry_run
from tests.support.rig import Rig, kill, note, rig_on
from tests.support.waiting import eventually
from workflows.checks import check_definition
from workflows.parsing import parse_definition, parse_text

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "compensation.yaml"
SPEC = {"hotel": "Ritz", "legs": ["Rome", "Oslo"]}


@pytest.fixture(scope="module")
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A beat with one worker."""
    with rig_on(environ, tmp_path_factory.mktemp("rig")) as rig:
        rig.beat()
        rig.worker()
        yield rig


def undone(step: str, uses: str = "testkit.note", **given: Any) -> dict[str, Any]:
    """Return how a step is undone with a trace in the ledger."""
    return {"compensate": {"uses": uses, **({"with": given} if given else {})}}


def submit(rig: Rig, name: str, *steps: dict[str, Any]) -> UUID:
    document = {"name": f"test.{name}", "version": 1, "on_failure": "compensate", "steps": list(steps)}
    return rig.submit_definition(document)


def order(rig: Rig, run: UUID) -> list[str]:
    """Return the compensations in the order in which the ledger has them, each time they were called."""
    entries = rig.ledger.entries(str(run))
    return [entry.step for entry in entries if entry.event == "begin" and entry.step.startswith("undo-")]


def test_the_example_gives_back_what_it_booked_the_latest_first(rig: Rig) -> None:
    document = parse_text(EXAMPLE.read_text())
    check_definition(parse_definition(document), rig.registry)
    good = rig.submit_definition(document, {**SPEC, "funds": 100})
    bad = rig.submit_definition(document, {**SPEC, "funds": 99})
    rig.ends(good)
    rig.ends(bad, "failed")
    assert (rig.run(good)["compensation"], rig.run(bad)["compensation"]) == (None, "complete")
    steps = rig.steps(bad)
    said = {key: row["output"]["message"] for key, row in steps.items() if key.startswith("undo-")}
    assert said == {
        "undo-hotel": "gave back Ritz, booked as 3 nights",
        "undo-flight.0": "gave back flight 0 to Rome",
        "undo-flight.1": "gave back flight 1 to Oslo",
    }
    ended = sorted(said, key=lambda key: steps[key]["finished_at"])
    assert ended[-1] == "undo-hotel"
    booked = sorted(("flight.0", "flight.1"), key=lambda key: steps[key]["finished_at"])
    assert [key.removeprefix("undo-") for key in ended[:2]] == booked[::-1]
    states = {key: steps[key]["state"] for key in ("hotel", "flight", "flight.0", "insure", "pay")}
    assert states == {
        "hotel": "compensated",
        "flight": "compensated",
        "flight.0": "compensated",
        "insure": "succeeded",
        "pay": "failed",
    }


def test_a_process_killed_while_it_undoes_costs_that_attempt_alone(rig: Rig) -> None:
    run = submit(
        rig,
        "killed",
        note("a", **undone("a")),
        note("b", "a", **undone("b", "testkit.hold", gate="undo.gate")),
        note("c", "b", **undone("c")),
        {"id": "bad", "uses": "testkit.fail_without", "with": {"gate": "never"}, "needs": ["c"]},
    )
    eventually(lambda: rig.ledger.begun(str(run), "undo-b"), within=20)
    victim, behind = rig.step(run, "undo-b"), rig.step(run, "undo-a")
    assert (victim["state"], behind["state"]) == ("running", "pending")
    assert behind["carrier"] == victim["carrier"] is not None, "one canvas carries the chain"
    assert (rig.state(run), rig.step(run, "b")["state"]) == ("compensating", "compensating")
    for refused in (pause_run, cancel_run):
        with pytest.raises(IllegalState, match="compensating"):
            refused(rig.base, rig.actor, run)
    kill(victim["lease_pid"])
    rig.open_gate("undo.gate")
    rig.ends(run, "failed", within=20)
    assert order(rig, run) == ["undo-c", "undo-b", "undo-b", "undo-a"]
    assert rig.step(run, "undo-b")["kills"] == 1
    assert (rig.run(run)["compensation"], rig.run(run)["error"]["code"]) == ("complete", "steps_failed")
    rig.checks(run, kills=1)


def test_a_compensation_that_fails_is_seen_and_goes_on_by_a_retry(rig: Rig) -> None:
    run = submit(
        rig,
        "refused",
        note("a", **undone("a")),
        note("b", "a", **undone("b", "testkit.fail_without", gate="undo.open")),
        note("c", "b", **undone("c")),
        {"id": "bad", "uses": "testkit.fail_without", "with": {"gate": "never"}, "needs": ["c"]},
    )
    rig.ends(run, "failed")
    assert rig.run(run)["error"]["code"] == "compensation_failed"
    assert order(rig, run) == ["undo-c", "undo-b"]
    rig.open_gate("undo.open")
    retry_run(rig.base, rig.actor, run)
    rig.ends(run, "failed")
    assert rig.run(run)["compensation"] == "complete"
    assert order(rig, run) == ["undo-c", "undo-b", "undo-b", "undo-a"]
    rig.checks(run)


def test_a_cancelled_run_is_undone_when_asked(rig: Rig) -> None:
    steps = [
        note("a", **undone("a")),
        {"id": "long", "uses": "testkit.hold", "with": {"gate": "never"}, "needs": ["a"], **undone("long")},
    ]
    run = rig.submit(steps)
    eventually(lambda: rig.ledger.begun(str(run), "long"), within=20)
    cancel_run(rig.base, rig.actor, run, compensate=True)
    rig.ends(run, "cancelled", within=20)
    assert order(rig, run) == ["undo-a"], "what was stopped did not complete"
    assert rig.run(run)["compensation"] == "complete"
    rig.checks(run)
