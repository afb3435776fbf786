"""Progress of a run, folded from its step rows into one line per step of the definition."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

ENDED_RUN = frozenset({"succeeded", "failed", "cancelled", "superseded"})
ENDED_STEP = frozenset({"succeeded", "failed", "skipped", "cancelled", "compensated"})


@dataclass(frozen=True, slots=True)
class StepLine:
    """One step of the definition: its own state, and how many of its items (1 without foreach) ended.

    `part` adds up how far its running items are, in items; `message` is what one of them tells.
    """

    base: str
    operation: str
    needs: tuple[str, ...]
    state: str
    total: int
    ended: int
    failed: int
    running: int
    attempts: int
    part: float = 0.0
    message: str | None = None
    reused: int = 0


def step_lines(steps: Iterable[Mapping[str, Any]]) -> tuple[StepLine, ...]:
    """Fold step documents into lines, in the order in which each base first appears."""
    by_base: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for step in steps:
        by_base[step["base"]].append(step)
    return tuple(_line(base, rows) for base, rows in by_base.items())


def _line(base: str, rows: list[Mapping[str, Any]]) -> StepLine:
    fan = next((row for row in rows if row.get("item") is None), rows[0])
    items = [row for row in rows if row.get("item") is not None] or [fan]
    states = Counter(row["state"] for row in items)
    reports = [row["progress"] for row in items if row["state"] == "running" and row.get("progress")]
    return StepLine(
        base=base,
        operation=fan.get("operation") or "",
        needs=tuple(fan.get("needs") or ()),
        state=fan["state"],
        total=len(items),
        ended=sum(states[state] for state in ENDED_STEP),
        failed=states["failed"],
        running=states["running"],
        attempts=max(int(row.get("attempt") or 0) for row in items),
        part=sum(report.get("fraction") or 0.0 for report in reports),
        reused=sum(row.get("reused_from") is not None for row in items),
        message=next((report["message"] for report in reports if report.get("message")), None),
    )


def totals(lines: Iterable[StepLine]) -> tuple[int, int]:
    """(ended, total) over all lines: the progress bar."""
    listed = tuple(lines)
    return sum(line.ended for line in listed), sum(line.total for line in listed)


def layers(lines: Iterable[StepLine]) -> Iterator[tuple[int, StepLine]]:
    """Each line with its depth: 0 for steps that need nothing, else one more than its deepest need."""
    known = {line.base: line for line in lines}
    depth = depths({base: line.needs for base, line in known.items()})
    for line in sorted(known.values(), key=lambda line: depth[line.base]):
        yield depth[line.base], line


def depths(needs: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return 0 for what needs nothing known, else one more than its deepest need."""
    open_needs = {name: {need for need in of if need in needs} for name, of in needs.items()}
    waiting: dict[str, list[str]] = defaultdict(list)
    for name, of in open_needs.items():
        for need in of:
            waiting[need].append(name)
    depth: dict[str, int] = {}
    front = [name for name, of in open_needs.items() if not of]
    level = 0
    while front:
        depth.update(dict.fromkeys(front, level))
        freed: list[str] = []
        for name in front:
            for other in waiting[name]:
                open_needs[other].discard(name)
                if not open_needs[other]:
                    freed.append(other)
        front, level = freed, level + 1
    # What stands in a circle has no depth; no plan has one, a damaged document might.
    return depth | {name: level for name in needs if name not in depth}
