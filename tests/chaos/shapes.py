"""The mixed shapes of the work: one module manifest, with how each of its runs must end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

PACE = "${spec.pace}"
RETRY = {"attempts": 4, "backoff": 0.2, "jitter": 0}


@dataclass(frozen=True, slots=True)
class Shape:
    """A workflow, and the state in which its runs end."""

    name: str
    steps: Sequence[dict[str, Any]]
    ends: str = "succeeded"

    @property
    def type(self) -> str:
        return f"chaos.{self.name}"


def step(name: str, *needs: Any, **more: Any) -> dict[str, Any]:
    """A step that works for the pace of its run, and leaves its trace in the ledger."""
    return {"id": name, "uses": "testkit.note", "needs": list(needs), "with": {"seconds": PACE}, **more}


def fails(name: str, attempts: int, *needs: Any, **more: Any) -> dict[str, Any]:
    """A step that fails its first attempts; it is tried again unless `more` says otherwise."""
    values = {"attempts": attempts, "retryable": "retry" in more}
    return {"id": name, "uses": "testkit.fail_first", "needs": list(needs), "with": values, **more}


def called(name: str, workflow: str, *needs: Any, **more: Any) -> dict[str, Any]:
    """A step that is a run of another shape, at the same pace."""
    spec = {"pace": PACE, "width": "${spec.width}"}
    return {"id": name, "workflow": workflow, "needs": list(needs), "with": spec, **more}


def chord(width: int) -> list[dict[str, Any]]:
    headers = [f"h{number}" for number in range(width)]
    return [
        step("start"),
        *(step(name, "start") for name in headers),
        step("join", *headers),
        step("end", "join"),
    ]


SHAPES = (
    Shape(
        "chain", [step("a"), *(step(after, before) for before, after in zip("abcdef", "bcdefg", strict=True))]
    ),
    Shape("chord", chord(6)),
    Shape("wide", chord(16)),
    Shape(
        "fan",
        [
            step("list"),
            step("each", "list", foreach="range(spec.width)"),
            step("join", "each"),
            step("tail", "join"),
        ],
    ),
    Shape(
        "mesh",  # the N: neither chains nor chords carry it whole
        [
            step("a"),
            step("b"),
            step("c", "a"),
            step("d", "a", "b"),
            step("e", "b"),
            step("f", "c", "d"),
            step("g", "d", "e"),
            step("h", "f", "g", "a"),
        ],
    ),
    Shape(
        "retries",
        [
            step("start"),
            fails("late", 2, "start", retry=RETRY),
            step("quick", "start"),
            fails("once", 1, "start", retry=RETRY),
            step("join", "late", "quick", "once"),
            step("end", "join"),
        ],
    ),
    Shape(
        "waits",
        [
            step("a"),
            {"id": "pause", "wait": {"for": "PT1S"}, "needs": ["a"]},
            step("b", "a"),
            step("join", "pause", "b"),
            step("end", "join"),
        ],
    ),
    Shape(
        "places",
        [
            step("list"),
            step("each", "list", foreach="range(spec.width)", max_parallel=2),
            step("join", "each"),
        ],
    ),
    Shape(
        "nested",  # a run for each item, each of which fans out itself
        [
            step("start"),
            called("each", "chaos.fan@1", "start", foreach="range(3)", max_parallel=2),
            called("other", "chaos.retries@1", "start"),
            step("join", "each", "other"),
        ],
    ),
    Shape(
        "broken",
        [
            step("a"),
            fails("bad", 9, "a"),
            step("apart", "a"),
            step("sorry", {"step": "bad", "on": "failure"}),
            step("never", "bad"),
        ],
        ends="failed",
    ),
)
BY_TYPE = {shape.type: shape for shape in SHAPES}


def manifest() -> dict[str, Any]:
    """Return the module that registers every shape."""
    kinds = [
        {
            "name": shape.type,
            "version": 1,
            "mode": "job",
            "description": "",
            "spec_schema": {"type": "object"},
            "workflow_name": shape.type,
            "workflow_version": 1,
        }
        for shape in SHAPES
    ]
    workflows = [{"name": shape.type, "version": 1, "steps": list(shape.steps)} for shape in SHAPES]
    return {"name": "chaos", "version": "1", "workflows": workflows, "intent_types": kinds}


def wanted(random: Random) -> dict[str, Any]:
    """Return the submission of a random shape at a random pace."""
    spec = {"pace": round(random.uniform(0.05, 0.35), 3), "width": random.randint(3, 12)}
    return {"type": random.choice(SHAPES).type, "spec": spec}
