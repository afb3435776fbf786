"""The mixed shapes of the work: one module manifest, with how each of its runs must end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

PACE = "${spec.pace}"
RETRY = {"attempts": 4, "backoff": 0.2, "jitter": 0}
PATIENT = {"attempts": 50, "backoff": 1, "cap": 2, "jitter": 0}
"""Longer than any disk stays full."""
PLACES = 2
"""How many runs of one concurrency key may be under way."""
LARGE = 300_000
"""More than a row holds, in characters."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A workflow, and the state in which its runs end."""

    name: str
    steps: Sequence[dict[str, Any]]
    ends: str = "succeeded"
    rules: Mapping[str, Any] = field(default_factory=dict)
    """What its definition says beside its steps."""

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


UNDO = {"uses": "testkit.note", "with": {"seconds": PACE}, "retry": RETRY}


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
    Shape(
        "undone",  # what succeeded is taken back, the last first
        [
            step("a", compensate=UNDO),
            step("b", "a", compensate=UNDO),
            step("c", "a", compensate=UNDO),
            fails("bad", 9, "b", "c"),
        ],
        ends="failed",
        rules={"on_failure": "compensate"},
    ),
    Shape(
        "late",  # nobody ever gives the signal
        [step("a"), {"id": "never", "wait": {"signal": "never"}, "needs": ["a"]}, step("b", "never")],
        ends="failed",
        rules={"deadline": "PT4S"},
    ),
    Shape(
        "keyed",
        [step("a"), step("b", "a"), step("c", "b")],
        rules={"concurrency": {"key": "line-${spec.width % 2}", "limit": PLACES, "on_full": "queue"}},
    ),
    Shape(
        "large",  # its output is an artifact, which another step's expression reads
        [
            step("start"),
            {
                "id": "big",
                "uses": "testkit.note",
                "needs": ["start"],
                "with": {"size": LARGE},
                "retry": PATIENT,
            },
            {
                "id": "reader",
                "uses": "testkit.note",
                "needs": ["big"],
                "with": {"value": "${size(steps.big.output.filler)}"},
            },
            step("end", "reader"),
        ],
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
    workflows = [
        {"name": shape.type, "version": 1, "steps": list(shape.steps), **shape.rules} for shape in SHAPES
    ]
    return {"name": "chaos", "version": "1", "workflows": workflows, "intent_types": kinds}


def wanted(random: Random) -> dict[str, Any]:
    """Return the submission of a random shape at a random pace."""
    spec = {"pace": round(random.uniform(0.05, 0.35), 3), "width": random.randint(3, 12)}
    return {"type": random.choice(SHAPES).type, "spec": spec}
