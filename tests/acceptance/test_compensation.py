"""The documents' example of a compensation, run by real processes, one of which is killed on the way."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.domain.errors import IllegalState
from app.services.cancel_run import cancel_run
from app.services.pause_run import pause_run
from app.services.retry_run import retry_run
from tests.support.examples import submit_example
from tests.support.rig import Rig, kill, note
from tests.support.waiting import eventually

SPEC = {"hotel": "Ritz", "legs": ["Rome", "Oslo"]}


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
    good = submit_example(rig, "compensation", {**SPEC, "funds": 100})
    bad = submit_example(rig, "compensation", {**SPEC, "funds": 99})
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


def test_the_example_of_a_trip_undoes_its_bookings(rig: Rig) -> None:
    run = submit_example(rig, "trip", {"legs": ["Rome", "Oslo"], "funds": 1}, "booking")
    rig.ends(run, "failed")
    rows = rig.rows(
        "SELECT s.output ->> 'message' AS said FROM run_steps s JOIN runs r ON r.id = s.run_id"
        " WHERE r.parent_run_id = %s AND s.undoes IS NOT NULL ORDER BY s.finished_at",
        run,
    )
    said = [f"gave back {what} to {place}" for place in ("Oslo", "Rome") for what in ("meal", "seat")]
    assert [row["said"] for row in rows] == said


def family(
    name: str, *, on_failure: str = "compensate", last: str = "never"
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A workflow whose steps are another one and a fan of a third one, all of which can be undone."""
    inner = {
        "name": f"test.{name}_inner",
        "version": 1,
        "steps": [note("x", **undone("x")), note("y", "x", **undone("y"))],
    }
    middle = {
        "name": f"test.{name}_middle",
        "version": 1,
        "steps": [note("m", **undone("m")), {"id": "deep", "workflow": f"{inner['name']}@1", "needs": ["m"]}],
    }
    outer = {
        "name": f"test.{name}",
        "version": 1,
        "on_failure": on_failure,
        "steps": [
            note("first", **undone("first")),
            {"id": "call", "workflow": f"{middle['name']}@1", "needs": ["first"]},
            {"id": "each", "workflow": f"{inner['name']}@1", "needs": ["call"], "foreach": "range(2)"},
            {"id": "bad", "uses": "testkit.fail_without", "with": {"gate": last}, "needs": ["each"]},
        ],
    }
    return outer, [middle, inner]


def kin(rig: Rig, run: UUID) -> dict[str, dict[str, Any]]:
    """The runs below a run by the place of their steps, the compensations' mark left out."""
    found = rig.rows("SELECT * FROM runs WHERE intent_id = %s AND id <> %s", rig.run(run)["intent_id"], run)
    return {f"{one['depth']} {one['parent_step'].removeprefix('undo-')}": one for one in found}


def all_undone(rig: Rig, run: UUID) -> list[str]:
    """Return what was undone of a run and of those below it, in order."""
    ids = [str(run), *(str(one["id"]) for one in kin(rig, run).values())]
    entries = [entry for entry in rig.ledger.entries() if entry.run in ids and entry.event == "begin"]
    return [entry.step for entry in entries if entry.step.startswith("undo-")]


def test_a_failed_parent_undoes_what_its_children_had_completed_in_reverse(rig: Rig) -> None:
    outer, others = family("kin")
    run = rig.submit_definition(outer, children=others)
    rig.ends(run, "failed")
    assert rig.run(run)["compensation"] == "complete"
    assert all_undone(rig, run) == [
        "undo-y",
        "undo-x",
        "undo-y",
        "undo-x",
        "undo-y",
        "undo-x",
        "undo-m",
        "undo-first",
    ]
    found = kin(rig, run)
    assert {place: (one["state"], one["compensation"]) for place, one in found.items()} == dict.fromkeys(
        ("1 call", "1 each.0", "1 each.1", "2 deep"), ("cancelled", "complete")
    )
    states = {key: row["state"] for key, row in rig.steps(run).items()}
    assert [states[key] for key in ("first", "call", "each", "each.0", "bad")] == ["compensated"] * 4 + [
        "failed"
    ]
    assert states["undo-call"] == "succeeded"


def test_a_child_that_failed_is_undone_as_far_as_it_came(rig: Rig) -> None:
    bad = {"id": "bad", "uses": "testkit.fail_without", "with": {"gate": "never"}, "needs": ["a"]}
    child = {"name": "test.half_child", "version": 1, "steps": [note("a", **undone("a")), bad]}
    steps = [
        note("first", **undone("first")),
        {"id": "call", "workflow": "test.half_child", "needs": ["first"]},
    ]
    document = {"name": "test.half", "version": 1, "on_failure": "compensate", "steps": steps}
    run = rig.submit_definition(document, children=[child])
    rig.ends(run, "failed")
    assert all_undone(rig, run) == ["undo-a", "undo-first"]
    assert (kin(rig, run)["1 call"]["state"], rig.step(run, "call")["state"]) == ("failed", "failed")


def test_a_cancel_with_compensation_undoes_children_that_have_ended(rig: Rig) -> None:
    outer, others = family("stopped", on_failure="stop")
    outer["steps"][3] = {"id": "bad", "uses": "testkit.hold", "with": {"gate": "never"}, "needs": ["each"]}
    run = rig.submit_definition(outer, children=others)
    eventually(lambda: rig.ledger.begun(str(run), "bad"), within=30)
    cancel_run(rig.base, rig.actor, run, compensate=True)
    rig.ends(run, "cancelled")
    assert len(all_undone(rig, run)) == 8


def test_the_retry_of_a_compensation_that_failed_in_a_child_goes_on_there(rig: Rig) -> None:
    stuck = {"compensate": {"uses": "testkit.fail_without", "with": {"gate": "undo mended"}}}
    child = {
        "name": "test.stuck_child",
        "version": 1,
        "steps": [note("a", **undone("a")), note("b", "a", **stuck)],
    }
    bad = {"id": "bad", "uses": "testkit.fail_without", "with": {"gate": "never"}, "needs": ["call"]}
    steps = [{"id": "call", "workflow": "test.stuck_child"}, bad]
    document = {"name": "test.stuck", "version": 1, "on_failure": "compensate", "steps": steps}
    run = rig.submit_definition(document, children=[child])
    rig.ends(run, "failed")
    assert (rig.run(run)["compensation"], rig.run(run)["error"]["undo"]) == ("failed", "undo-call")
    assert kin(rig, run)["1 call"]["compensation"] == "failed"
    rig.open_gate("undo mended")
    retry_run(rig.base, rig.actor, run)
    eventually(lambda: rig.run(run)["compensation"] == "complete", within=30)
    assert all_undone(rig, run) == ["undo-b", "undo-b", "undo-a"]
    assert kin(rig, run)["1 call"]["compensation"] == "complete"
