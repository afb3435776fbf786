"""The documents' examples of waits, of outcomes, run by real processes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.domain.errors import Conflict, Forbidden, IllegalState, InvalidInput, NotFound
from app.domain.identity import Actor
from app.services.dead_letters import replay_dead_letter
from app.services.retry_run import retry_run
from app.services.skip_step import skip_step
from app.services.tell_run import tell_run
from tests.support.examples import submit_example
from tests.support.rig import Rig
from tests.support.waiting import eventually


def person(rig: Rig, role: str) -> Actor:
    user = uuid4()
    return replace(rig.actor, user_id=user, email=f"{user}@example.org", roles=frozenset({role}))


def waits(rig: Rig, run: UUID, key: str) -> None:
    eventually(lambda: rig.step(run, key)["state"] == "waiting", within=20.0, what=f"{key} waits")


def output(rig: Rig, run: UUID, key: str) -> Any:
    return rig.step(run, key)["output"]


def test_a_timer_fires_within_a_second_of_due(rig: Rig) -> None:
    run = submit_example(rig, "timer", {"pause": "PT2S"})
    waits(rig, run, "cool_down")
    rig.quiet(run)
    assert rig.run(run)["open_steps"] == 2
    rig.ends(run)
    late = rig.rows(
        "SELECT extract(epoch FROM finished_at - (output ->> 'due')::timestamptz)::float AS late"
        " FROM run_steps WHERE run_id = %s AND key = 'cool_down'",
        run,
    )
    assert 0 <= late[0]["late"] < 1.0
    assert output(rig, run, "remind")["message"].startswith("ordered, still there at 20")


def test_a_signal_becomes_the_output_also_when_it_comes_early(rig: Rig) -> None:
    run = submit_example(rig, "signal", {"amount": 5})
    told = tell_run(rig.base, person(rig, "developer"), run, "payment", {"method": "card"})
    rig.ends(run)
    assert told.name == "payment"
    assert output(rig, run, "ship")["message"] == "paid by card"
    with pytest.raises(IllegalState):
        tell_run(rig.base, person(rig, "developer"), run, "payment", {})


def test_two_approvers_let_the_release_go(rig: Rig) -> None:
    run = submit_example(rig, "approval", {"version": 7})
    waits(rig, run, "gate")
    ann, bob = person(rig, "operator"), person(rig, "tenant_admin")
    approve = {"decision": "approve", "reason": "tested"}
    with pytest.raises(Forbidden):
        tell_run(rig.base, person(rig, "developer"), run, "release", approve)
    with pytest.raises(InvalidInput):
        tell_run(rig.base, ann, run, "release", {"decision": "perhaps"})
    with pytest.raises(NotFound):
        tell_run(rig.base, ann, run, "other", approve)
    tell_run(rig.base, ann, run, "release", approve)
    with pytest.raises(Conflict, match="decided already"):
        tell_run(rig.base, ann, run, "release", approve)
    assert rig.step(run, "gate")["state"] == "waiting"
    tell_run(rig.base, bob, run, "release", approve)
    rig.ends(run)
    assert output(rig, run, "release")["message"] == f"release 7, approved by {ann.email}"
    assert rig.step(run, "withdraw")["state"] == "skipped"


def test_a_rejection_runs_the_handler(rig: Rig) -> None:
    run = submit_example(rig, "approval", {"version": 8})
    waits(rig, run, "gate")
    tell_run(rig.base, person(rig, "operator"), run, "release", {"decision": "reject", "reason": "too late"})
    rig.ends(run, "failed")
    assert rig.step(run, "gate")["error"]["code"] == "rejected"
    assert rig.step(run, "release")["state"] == "cancelled"
    assert output(rig, run, "withdraw")["message"] == "withdrawn: too late"
    rig.checks(run)


def test_outcomes_choose_the_branch(rig: Rig) -> None:
    good, bad = (
        submit_example(rig, "outcomes", {"healthy": True}),
        submit_example(rig, "outcomes", {"healthy": False}),
    )
    rig.ends(good)
    rig.ends(bad, "failed")
    states = {key: row["state"] for key, row in rig.steps(good).items()}
    assert states == {
        "lock": "succeeded",
        "migrate": "succeeded",
        "announce": "succeeded",
        "restore": "skipped",
        "unlock": "succeeded",
    }
    assert output(rig, bad, "restore")["message"] == "restored after: the disk is full"
    assert (rig.step(bad, "announce")["state"], rig.step(bad, "unlock")["state"]) == (
        "cancelled",
        "succeeded",
    )
    retry_run(rig.base, rig.actor, bad)
    rig.ends(bad, "failed")
    assert rig.step(bad, "restore")["round"] == 0, "what ended well stays"


def test_a_condition_leaves_a_step_out_its_dependants_run(rig: Rig) -> None:
    full, empty = (submit_example(rig, "when", {"used": used}) for used in (93, 12))
    rig.ends(full)
    rig.ends(empty)
    assert output(rig, full, "report")["message"] == "cleaned at 93 %"
    assert {key: row["state"] for key, row in rig.steps(empty).items() if row["state"] == "skipped"} == {
        "clean": "skipped",
        "tell": "skipped",
    }
    assert output(rig, empty, "report")["message"] == "nothing to clean"


def test_a_step_past_its_limit_is_done_without(rig: Rig) -> None:
    late, soon = (submit_example(rig, "timeout", {"seconds": given}) for given in (30, 0.01))
    rig.ends(soon)
    rig.ends(late, "failed")
    assert rig.step(soon, "do_without")["state"] == "skipped"
    assert output(rig, late, "do_without")["message"] == "no answer: timeout"


def test_a_run_is_steered_as_the_example_says(rig: Rig) -> None:
    run = submit_example(rig, "steering", {"healthy": False})
    rig.ends(run, "failed")
    retry_run(rig.base, rig.actor, run)
    rig.ends(run, "failed")
    assert {key: row["tries"] for key, row in rig.steps(run).items()} == {
        "load": 1,
        "migrate": 2,
        "verify": 0,
    }
    retry_run(rig.base, rig.actor, run, from_step="load")
    rig.ends(run, "failed")
    replay_dead_letter(rig.base, rig.actor, run, "migrate")
    rig.ends(run, "failed")
    assert {key: row["tries"] for key, row in rig.steps(run).items()} == {
        "load": 2,
        "migrate": 4,
        "verify": 0,
    }
    skip_step(rig.base, rig.actor, run, "migrate", "not needed")
    rig.ends(run)
    assert output(rig, run, "verify")["message"] == "verified"
