"""Steering by hand with real workers: nothing runs twice, nothing is left behind."""

from __future__ import annotations

from app.services.dead_letters import replay_dead_letter
from app.services.pause_run import pause_run, resume_run
from app.services.rerun_run import rerun_run
from app.services.retry_run import retry_run
from app.services.skip_step import skip_step
from tests.support.rig import Rig, held, note
from tests.support.waiting import eventually, holds


def test_a_run_paused_with_a_chord_in_flight_goes_on_where_it_stood(busy: Rig) -> None:
    fan = [f"p{n}" for n in range(4)]
    run = busy.submit(
        [
            note("start"),
            *(held(key, "lunch", "start") for key in fan),
            note("join", *fan),
            note("tail", "join"),
        ]
    )
    eventually(lambda: busy.count(run, "running") == 2, within=20)
    assert pause_run(busy.base, busy.actor, run, reason="lunch").state == "pausing"
    busy.open_gate("lunch")
    eventually(lambda: busy.state(run) == "paused", within=20)
    busy.quiet(run)  # the messages of the old canvas are used up
    assert busy.count(run, "succeeded") == 3
    holds(lambda: busy.state(run) == "paused" and busy.count(run, "ready") == 2, during=2.5)
    assert resume_run(busy.base, busy.actor, run).state == "running"
    busy.ends(run)
    assert {key: row["tries"] for key, row in busy.steps(run).items()} == dict.fromkeys(busy.steps(run), 1)
    busy.checks(run)


def test_a_failed_run_goes_on_past_a_skipped_step_then_runs_again(busy: Rig) -> None:
    broken = {"id": "broken", "uses": "testkit.fail_without", "with": {"gate": "never mended"}}
    run = busy.submit([broken, note("after", "broken", **{"with": {"value": "${steps.broken.output}"}})])
    busy.ends(run, "failed")
    skip_step(busy.base, busy.actor, run, "broken", "known to be harmless")
    busy.ends(run)
    assert busy.step(run, "after")["output"] == {"step": "after", "value": None}
    busy.checks(run)
    again = rerun_run(busy.base, busy.actor, run)
    busy.ends(again.id, "failed")
    assert busy.run(again.id)["intent_id"] == busy.run(run)["intent_id"]


def test_a_retry_from_a_step_decides_a_foreach_anew(busy: Rig) -> None:
    run = busy.submit(
        [
            note("list", **{"with": {"value": [1, 2, 3]}}),
            note("each", "list", foreach="${steps.list.output.value}", **{"with": {"value": "${item}"}}),
            note("join", "each"),
            {"id": "end", "uses": "testkit.fail_without", "with": {"gate": "end mended"}, "needs": ["join"]},
        ]
    )
    busy.ends(run, "failed")
    busy.open_gate("end mended")
    retry_run(busy.base, busy.actor, run, from_step="list")
    busy.ends(run)
    assert {key: row["tries"] for key, row in busy.steps(run).items() if key != "each"} == dict.fromkeys(
        ("list", "each.0", "each.1", "each.2", "join", "end"), 2
    )
    busy.checks(run)


def test_a_dead_letter_is_replayed_alone(busy: Rig) -> None:
    broken = {"uses": "testkit.fail_without"}
    run = busy.submit(
        [
            {"id": "one", "with": {"gate": "one mended"}, **broken},
            {"id": "two", "with": {"gate": "two mended"}, **broken},
            note("after", "one"),
        ]
    )
    busy.ends(run, "failed")
    busy.open_gate("one mended")
    replay_dead_letter(busy.base, busy.actor, run, "one")
    eventually(lambda: busy.step(run, "after")["state"] == "succeeded", within=20)
    busy.ends(run, "failed")
    assert (busy.step(run, "two")["tries"], busy.step(run, "two")["state"]) == (1, "failed")
