"""What must hold of a run's rows after every commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.domain.states import RUN_TERMINAL, STEP_DONE, STEP_OPEN
from tests.integration.model.lanes import Lanes

STEPS = """
  SELECT s.key, s.base, s.item, s.is_fan, s.state::text, s.needs_left, s.tries,
         s.dispatch_epoch AS epoch, s.sent_at IS NOT NULL AS sent, s.round, s.lease_boot,
         s.continue_on_failure AS lenient, s.lease_pid,
         s.not_before, s.error, (SELECT count(*) FROM step_attempts a
           WHERE a.tenant_id = s.tenant_id AND a.run_id = s.run_id AND a.key = s.key) AS attempts,
         (SELECT count(*) FROM step_attempts a WHERE a.tenant_id = s.tenant_id AND a.run_id = s.run_id
           AND a.key = s.key AND a.round = s.round AND a.state::text IN ('succeeded', 'skipped')) AS wins
  FROM run_steps s WHERE s.run_id = %s ORDER BY s.seq, s.item
"""
RUN = """
  SELECT r.state::text, r.open_steps, r.failed_steps, r.event_seq, r.version, r.started_at, i.phase::text
  FROM runs r JOIN intents i ON i.tenant_id = r.tenant_id AND i.id = r.intent_id WHERE r.id = %s
"""
EVENTS = "SELECT seq, type FROM events WHERE subject = %s ORDER BY seq"
AUDITED = "SELECT count(*) AS n FROM audit_records WHERE subject = %s"
PHASES = {"succeeded": "succeeded", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class Picture:
    """A run with its steps, as committed."""

    run: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    events: list[dict[str, Any]]
    audited: int

    @property
    def state(self) -> str:
        return str(self.run["state"])

    def having(self, *states: str) -> list[dict[str, Any]]:
        return [step for step in self.steps.values() if step["state"] in states]


def picture(lanes: Lanes, run: UUID) -> Picture:
    """Read the run."""
    steps = {row["key"]: row for row in lanes.look(STEPS, run)}
    subject = f"runs/{run}"
    audited = lanes.look(AUDITED, subject)[0]["n"]
    return Picture(lanes.look(RUN, run)[0], steps, lanes.look(EVENTS, subject), audited)


def well(step: Mapping[str, Any]) -> bool:
    """Whether a need has ended so that who needs it may go on."""
    return step["state"] in STEP_DONE or (step["state"] == "failed" and bool(step["lenient"]))


def check_run(seen: Picture) -> None:
    """The counts of the run, its state, the phase of its intent agree with its steps."""
    opened = seen.having(*STEP_OPEN)
    assert seen.run["open_steps"] == len(opened), "open steps are counted wrong"
    bad = [step for step in seen.having("failed") if not step["lenient"]]
    assert seen.run["failed_steps"] == len(bad), "failed steps are counted wrong"
    running = seen.having("running")
    if seen.state in RUN_TERMINAL:
        assert not opened, "an ended run has open steps"
        assert seen.run["phase"] == PHASES[seen.state], "the intent tells another end"
        assert seen.state == "cancelled" or (seen.state == "failed") == bool(bad), "the run ended otherwise"
    else:
        assert opened, "a run without open steps goes on"
    if seen.state == "queued":
        assert not running and seen.run["started_at"] is None, "a queued run has begun"
    if seen.state == "paused":
        assert not running, "a paused run works"
    if seen.state in ("pausing", "cancelling"):
        assert running, f"a run is {seen.state} and nobody works on it"
    if seen.state in ("queued", "running"):
        assert any(step["state"] != "pending" for step in opened), "everybody waits for nobody"


def check_steps(seen: Picture, needs: Mapping[str, Sequence[str]], outcomes: bool) -> None:
    """Nobody begins before its needs, nobody is forgotten; every try but the present one is told."""
    under_way = seen.state not in RUN_TERMINAL and seen.state != "cancelling"
    for key, step in seen.steps.items():
        told = f"{key}: {step}"
        assert step["attempts"] == step["tries"] - (step["state"] == "running"), (
            f"an attempt is missing: {told}"
        )
        assert step["wins"] <= 1, f"ended well twice in one round: {told}"
        if step["state"] == "running":
            assert step["lease_boot"] is not None, f"nobody's claim: {told}"
        if step["item"] is None and under_way:
            _check_needs(step, [seen.steps[need] for need in needs[key]], outcomes)
        if step["is_fan"] and step["state"] == "waiting":
            items = [one for one in seen.having(*STEP_OPEN) if one["base"] == key and one["item"] is not None]
            assert step["needs_left"] == len(items) > 0, f"a fan counts its items wrong: {told}"


def _check_needs(step: Mapping[str, Any], needed: Sequence[Mapping[str, Any]], outcomes: bool) -> None:
    told = f"{step['key']}: {step}, needs {[(need['key'], need['state']) for need in needed]}"
    ended = [need for need in needed if (need["state"] not in STEP_OPEN if outcomes else well(need))]
    if step["state"] == "pending":
        assert step["needs_left"] == len(needed) - len(ended) > 0, f"needs are counted wrong: {told}"
    if step["state"] in ("ready", "running", "waiting"):
        assert len(ended) == len(needed), f"began before its needs: {told}"


def check_events(seen: Picture) -> None:
    """The events are numbered without a gap; the run begins at most once, ends as often as it was retried."""
    assert [event["seq"] for event in seen.events] == list(range(1, seen.run["event_seq"] + 1)), "a gap"
    types = Counter(event["type"].removeprefix("io.quantum.") for event in seen.events)
    assert types["run.started"] == (seen.run["started_at"] is not None), types
    ends = sum(types[f"run.{state}"] for state in PHASES)
    reopened = ends - (seen.state in RUN_TERMINAL)
    assert reopened >= 0, types


def check_growth(before: Picture, after: Picture) -> None:
    """What fences out the late only grows; a commit that is no repair changes nothing that has ended."""
    for key, step in before.steps.items():
        now = after.steps[key]
        for name in ("tries", "epoch", "round"):
            assert now[name] >= step[name], f"{name} of {key} fell from {step[name]} to {now[name]}"
        if step["state"] in STEP_DONE and now["round"] == step["round"]:
            assert now["state"] in (step["state"], "cancelled"), f"{key} had ended {step['state']}: {now}"
    assert after.run["version"] >= before.run["version"]
    assert after.run["event_seq"] >= before.run["event_seq"]
