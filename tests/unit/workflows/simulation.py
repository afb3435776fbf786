"""The planner's segments executed step by step under the platform's rules, without Celery or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from workflows.plan import Plan
from workflows.segments import Fork, ReadyStep, Segment, segments_for


@dataclass
class Row:
    """A step's row, as far as release needs it."""

    base: str
    item: int | None
    needs_left: int
    state: str = "pending"
    sent: bool = False
    epoch: int = 0
    carrier: int | None = None


@dataclass
class Flight:
    """A canvas under way: `branches` are the messages deliverable now, each with what follows it."""

    segment: Segment
    epochs: Mapping[str, int]
    stage: int = 0
    branches: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.enter()

    def enter(self) -> None:
        """Deliver the first messages of the present stage."""
        stage = self.segment.stages[self.stage]
        self.branches = [
            list(branch) for branch in (stage.branches if isinstance(stage, Fork) else (stage.keys,))
        ]
        self.waiting = len(self.branches)


class Simulation:
    """Executes a plan to its end; `executed` lists the keys in order, each fault of the planner raises."""

    def __init__(self, plan: Plan, items: Mapping[str, int], random: Random, interruptions: int = 0) -> None:
        self.plan, self.items, self.random, self.interruptions = plan, items, random, interruptions
        self.rows = {
            step.base: Row(step.base, None, len(step.needs), "pending" if step.needs else "ready")
            for step in plan.steps
        }
        self.counts: dict[str, int] = {}
        self.flights: list[Flight] = []
        self.executed: list[str] = []
        self.stale = 0

    def run(self) -> list[str]:
        """Run until no step is open; asserts that every ready step always has its message waiting."""
        self.advance()
        while any(row.state in {"pending", "ready", "waiting"} for row in self.rows.values()):
            self.assert_nothing_waits_needlessly()
            flight = self.random.choice([flight for flight in self.flights if flight.branches])
            self.deliver(flight, self.random.choice(flight.branches))
        return self.executed

    def assert_nothing_waits_needlessly(self) -> None:
        enabled = {
            branch[0]
            for flight in self.flights
            for branch in flight.branches
            if self.rows[branch[0]].epoch == flight.epochs[branch[0]]
        }
        ready = {key for key, row in self.rows.items() if row.state == "ready"}
        assert ready <= enabled, f"ready but not delivered: {ready - enabled}"

    def deliver(self, flight: Flight, branch: list[str]) -> None:
        """Execute the first message of a branch, then let the canvas go on as Celery would."""
        key = branch[0]
        row = self.rows[key]
        if row.epoch != flight.epochs[key] or row.state == "succeeded":
            self.stale += 1  # the claim is lost: the task ends that canvas
            flight.branches.remove(branch)
            return
        assert row.state == "ready", f"{key} was delivered before its needs: {row}"
        if self.interruptions and self.random.random() < 0.3:
            self.interruptions -= 1
            flight.branches.remove(branch)
            self.interrupt(row)
            return
        self.executed.append(key)
        self.finish(key)
        branch.pop(0)
        if not branch:
            flight.branches.remove(branch)
            flight.waiting -= 1
            if not flight.waiting and flight.stage + 1 < len(flight.segment.stages):
                flight.stage += 1
                flight.enter()

    def interrupt(self, row: Row) -> None:
        """A try that is to be repeated: its canvas is broken, the step is ready again."""
        for other in self.rows.values():
            if other.state == "pending" and other.carrier == row.carrier:
                other.sent = False
        row.sent = False
        self.advance()

    def finish(self, key: str) -> None:
        row = self.rows[key]
        row.state = "succeeded"
        closed = row.base
        if row.item is not None:
            fan = self.rows[row.base]
            fan.needs_left -= 1
            if fan.needs_left:
                return
            fan.state = "succeeded"
        self.release(closed)
        self.advance()

    def release(self, base: str) -> None:
        for successor in self.plan.step(base).successors:
            row = self.rows[successor]
            row.needs_left -= 1
            if not row.needs_left:
                row.state = "ready"

    def advance(self) -> None:
        """Expand ready fans, then send what is ready and unsent."""
        while fans := [row for row in self.rows.values() if row.state == "ready" and self.is_fan(row)]:
            for fan in fans:
                self.expand(fan)
        ready = [
            ReadyStep(key, row.base, row.item)
            for key, row in self.rows.items()
            if row.state == "ready" and not row.sent
        ]
        for segment in segments_for(self.plan, ready, self.counts):
            for key in segment.keys:
                row = self.rows[key]
                assert row.state in {"pending", "ready"}, f"{key} is carried but {row.state}"
                assert not row.sent, f"{key} is carried twice"
                row.sent, row.carrier, row.epoch = True, segment.carrier, row.epoch + 1
            self.flights.append(Flight(segment, {key: self.rows[key].epoch for key in segment.keys}))

    def is_fan(self, row: Row) -> bool:
        return row.item is None and self.plan.step(row.base).is_fan

    def expand(self, fan: Row) -> None:
        count = self.counts[fan.base] = self.items.get(fan.base, 0)
        for item in range(count):
            self.rows[f"{fan.base}.{item}"] = Row(fan.base, item, 0, "ready")
        fan.needs_left = count
        fan.state = "waiting" if count else "succeeded"
        if not count:
            self.release(fan.base)
