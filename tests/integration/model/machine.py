"""A random graph under random hands: claims, ends, deaths, repairs in transactions that overlap."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.domain.states import RUN_TERMINAL
from tests.integration.model import calls
from tests.integration.model.invariants import (
    Picture,
    check_events,
    check_growth,
    check_run,
    check_steps,
    picture,
)
from tests.integration.model.lanes import Call, Lane, Lanes, Rows
from tests.support.spine import BROKER, Spine

LANES = 3
BOOTS = tuple(UUID(int=number) for number in (1, 2, 3))
OUTCOMES = ("succeeded", "succeeded", "failed", "retry", "killed", "skipped")
WANTED = ("success", "success", "failure", "always")
TO_THE_END = 400
SELDOM = st.integers(0, 9).map(lambda number: number == 7)
"""Hypothesis likes the ends of a range, so a number amid it is meant."""


@st.composite
def graphs(draw: Any) -> dict[str, Any]:
    """A graph of two to seven steps; some accept failure, some are foreach, some needs ask for outcomes."""
    names = [chr(ord("a") + number) for number in range(draw(st.integers(2, 7)))]
    graph = {
        name: sorted(draw(st.sets(st.sampled_from(names[:at]), max_size=3))) if at else []
        for at, name in enumerate(names)
    }
    outcomes = {}
    if draw(st.integers(0, 2)) == 0:
        outcomes = {
            name: {need: draw(st.sampled_from(WANTED)) for need in needs} for name, needs in graph.items()
        }
    return {
        "graph": graph,
        "lenient": sorted(draw(st.sets(st.sampled_from(names), max_size=2))),
        "fans": sorted(draw(st.sets(st.sampled_from(names), max_size=1))),
        "outcomes": outcomes,
    }


class Machine(RuleBasedStateMachine):
    """One run; up to three transactions are open at any time, committed in any order."""

    def __init__(self, spine: Spine, lanes: Lanes) -> None:
        super().__init__()
        self.spine, self.lanes = spine, lanes
        self.lanes.clear()
        self.claims: list[tuple[str, int, UUID]] = []
        """Committed claims: step, tries, who."""
        self.settled: set[tuple[str, int]] = set()

    @initialize(shape=graphs())
    def declare(self, shape: dict[str, Any]) -> None:
        self.needs, self.outcomes = shape["graph"], bool(shape["outcomes"])
        self.run = self.spine.start(
            shape["graph"], lenient=shape["lenient"], fans=shape["fans"], outcomes=shape["outcomes"]
        )
        self.seen = picture(self.lanes, self.run)

    # -- transactions ---------------------------------------------------------------------------------------

    def idle(self) -> list[Lane]:
        """Where a transaction may begin: nowhere while one waits for a lock.

        Of two who wait for the same commit either may be first, and Hypothesis must see the same again.
        """
        if any(not lane.idle and not lane.done for lane in self.lanes.all):
            return []
        return [lane for lane in self.lanes.all if lane.idle]

    def done(self) -> list[Lane]:
        return [lane for lane in self.lanes.all if not lane.idle and lane.done]

    def begin(self, call: Call, at_once: bool = False) -> None:
        """Open a transaction; `at_once` commits it too, when no lock holds it up."""
        lane = self.idle()[0]
        lane.begin(call)
        if at_once and lane.done:
            self.committed(lane)

    @precondition(lambda self: self.done())
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(self.done()), label="lane")
        self.committed(lane)

    @precondition(lambda self: self.done())
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.lanes.roll_back(data.draw(st.sampled_from(self.done()), label="lane"))
        assert picture(self.lanes, self.run) == self.seen, "a transaction that was rolled back left a trace"

    def committed(self, lane: Lane) -> None:
        """Commit, look what has changed."""
        assert lane.call is not None
        name = lane.call.name
        self.lanes.commit(lane)
        before, self.seen = self.seen, picture(self.lanes, self.run)
        check_growth(before, self.seen)
        grown = self.seen.audited - before.audited
        by_hand = name in calls.BY_HAND and self.seen.run["version"] > before.run["version"]
        assert grown == int(by_hand), f"{name} left {grown} audit records"

    # -- workers --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.idle() and self.sent())
    @rule(data=st.data(), boot=st.sampled_from(BOOTS), at_once=st.sampled_from((True, True, False)))
    def claim(self, data: st.DataObject, boot: UUID, at_once: bool) -> None:
        """A message arrives in its time."""
        self.arrive(data.draw(st.sampled_from(self.sent()), label="step"), 0, boot, at_once)

    @precondition(lambda self: self.idle() and self.sent())
    @rule(data=st.data(), boot=st.sampled_from(BOOTS), outcome=st.sampled_from(OUTCOMES))
    def work(self, data: st.DataObject, boot: UUID, outcome: str) -> None:
        """A worker goes through a step, unless somebody stands in its way."""
        step = data.draw(st.sampled_from(self.sent()), label="step")
        self.arrive(step, 0, boot, True)
        if self.claims and self.claims[-1][0] == step["key"] and self.idle():
            self.settle_claim(step["key"], self.claims[-1][1], outcome, True)

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), boot=st.sampled_from(BOOTS), behind=st.integers(0, 1))
    def stray(self, data: st.DataObject, boot: UUID, behind: int) -> None:
        """A message arrives too early, too late, or twice."""
        step = data.draw(st.sampled_from(list(self.seen.steps.values())), label="step")
        self.arrive(step, behind, boot, False)

    def sent(self) -> list[dict[str, Any]]:
        return [step for step in self.seen.having("ready") if step["sent"]]

    def arrive(self, step: dict[str, Any], behind: int, boot: UUID, at_once: bool) -> None:
        """A worker claims what a message of the present epoch, or of an earlier one, names."""

        def settle(rows: Rows) -> None:
            if rows[0]["verdict"] == "claimed":
                self.won(step["key"], rows[0]["tries"], boot)

        epoch = max(step["epoch"] - behind, 0)
        self.begin(calls.claim(self.spine.tenant, self.run, step["key"], epoch, boot, settle), at_once)

    def won(self, key: str, tries: int, boot: UUID) -> None:
        """A claim was granted: nobody else ever had it under this number, nor is it an old one.

        Who has it may ask again and be told the same, even while another of his transactions settles it.
        """
        if (key, tries, boot) not in self.claims:
            earlier = [number for step, number, _ in self.claims if step == key]
            assert all(number < tries for number in earlier), f"{key} was granted as {tries} after {earlier}"
            self.claims.append((key, tries, boot))

    @precondition(lambda self: self.idle() and self.claims)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES))
    def finish(self, data: st.DataObject, outcome: str) -> None:
        """A worker settles a claim, perhaps one that it has lost meanwhile."""
        present = [claim for claim in self.claims if (claim[0], claim[1]) not in self.settled]
        key, tries, _ = data.draw(st.sampled_from(present[-4:] or self.claims[-4:]), label="claim")
        self.settle_claim(key, tries, outcome, False)

    def settle_claim(self, key: str, tries: int, outcome: str, at_once: bool) -> None:
        def settle(rows: Rows) -> None:
            if rows[0]["verdict"] == "finished":
                self.ended(key, tries)

        self.begin(calls.finish(self.spine.tenant, self.run, key, tries, outcome, settle), at_once)

    def ended(self, key: str, tries: int) -> None:
        """A claim was settled: once, by its own number, which was the latest."""
        assert (key, tries) not in self.settled, "settled twice"
        latest = max(number for step, number, _ in self.claims if step == key)
        assert tries == latest, f"{key} was settled as {tries}, {latest} was granted since"
        self.settled.add((key, tries))

    # -- recovery -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.idle() and self.seen.having("running"))
    @rule(boot=st.sampled_from(BOOTS))
    def child_dies(self, boot: UUID) -> None:
        self.begin(calls.release_child(boot))

    @precondition(lambda self: self.idle() and self.seen.having("running"))
    @rule(really=SELDOM)
    def everybody_dies(self, really: bool) -> None:
        if really:
            self.begin(calls.release_dead())

    @precondition(lambda self: self.idle() and [s for s in self.seen.having("waiting") if s["not_before"]])
    @rule()
    def time_passes(self) -> None:
        self.begin(calls.due_waits())

    @precondition(lambda self: self.idle() and len(self.sent()) < len(self.seen.having("ready")))
    @rule(at_once=st.booleans())
    def send(self, at_once: bool) -> None:
        self.begin(calls.send(self.spine.tenant, self.run, BROKER), at_once)

    @precondition(lambda self: self.idle() and self.sent())
    @rule(data=st.data(), really=SELDOM)
    def lose_message(self, data: st.DataObject, really: bool) -> None:
        step = data.draw(st.sampled_from(self.sent()), label="step")
        if really:
            self.begin(calls.unmark(self.spine.tenant, self.run, step["key"], step["epoch"]))

    @precondition(lambda self: self.idle() and [s for s in self.seen.having("ready") if s["is_fan"]])
    @rule(width=st.integers(0, 3), data=st.data(), at_once=st.booleans())
    def expand(self, width: int, data: st.DataObject, at_once: bool) -> None:
        fans = [step for step in self.seen.having("ready") if step["is_fan"]]
        fan = data.draw(st.sampled_from(fans), label="fan")
        self.begin(calls.expand(self.spine.tenant, self.run, fan["key"], width), at_once)

    # -- people ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.idle())
    @rule(really=SELDOM)
    def cancel(self, really: bool) -> None:
        if really:
            self.begin(calls.by_hand("cancel_run", self.spine.tenant, self.run))

    @precondition(lambda self: self.idle())
    @rule(really=SELDOM)
    def pause(self, really: bool) -> None:
        if really:
            self.begin(calls.by_hand("pause_run", self.spine.tenant, self.run))

    @precondition(lambda self: self.idle() and self.seen.state in ("pausing", "paused"))
    @rule()
    def resume(self) -> None:
        self.begin(calls.by_hand("resume_run", self.spine.tenant, self.run))

    @precondition(lambda self: self.idle())
    @rule(data=st.data(), really=SELDOM)
    def skip(self, data: st.DataObject, really: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.seen.steps)), label="step")
        if really:
            self.begin(calls.by_hand("skip_step", self.spine.tenant, self.run, key))

    @precondition(lambda self: self.idle() and self.seen.state == "failed")
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([None, *sorted(self.seen.steps)]), label="from")
        self.begin(calls.by_hand("retry_run", self.spine.tenant, self.run, key))

    # -- what must hold -------------------------------------------------------------------------------------

    @invariant()
    def rows_agree(self) -> None:
        if hasattr(self, "seen"):
            check_run(self.seen)
            check_steps(self.seen, self.needs, self.outcomes)
            check_events(self.seen)

    def teardown(self) -> None:
        """Everybody commits; then a platform that works brings the run to its end."""
        if not hasattr(self, "seen"):
            return
        while any(not lane.idle for lane in self.lanes.all):
            assert self.done(), "all wait for each other"
            self.committed(self.done()[0])
        for _ in range(TO_THE_END):
            if self.seen.state in RUN_TERMINAL:
                return
            self.go_on(self.seen)
            self.rows_agree()
        raise AssertionError(f"the run never ends: {self.seen}")

    def go_on(self, seen: Picture) -> None:
        """Do the next thing that the platform would do."""
        tenant, run = self.spine.tenant, self.run
        running, ready = seen.having("running"), seen.having("ready")
        fans = [step for step in ready if step["is_fan"]]
        sent = [step for step in ready if step["sent"] and not step["is_fan"]]
        if running:
            step = running[0]
            call = calls.finish(tenant, run, step["key"], step["tries"], "succeeded", lambda _rows: None)
        elif seen.state in ("pausing", "paused"):
            call = calls.by_hand("resume_run", tenant, run)
        elif fans:
            call = calls.expand(tenant, run, fans[0]["key"], 1)
        elif sent:
            step = sent[0]
            call = calls.claim(tenant, run, step["key"], step["epoch"], BOOTS[0], lambda _rows: None)
        elif ready:
            call = calls.send(tenant, run, BROKER)
        else:
            call = calls.due_waits()
        self.begin(call)
        self.committed(self.done()[0])
