"""Figures: what one measure gave, summed up over rounds, printed as ratios."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Literal

Better = Literal["higher", "lower"]
OURS, PEER, CEILING = "ours", "celery", "ceiling"
Key = tuple[str, str, str]
"""A work with what was measured of it and the unit."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value of one round; `load` is the 1-minute load average when it began."""

    work: str
    system: str
    value: float
    unit: str
    better: Better
    load: float
    what: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of a measure over its n rounds; `load` is the highest of theirs."""

    work: str
    what: str
    system: str
    value: float
    unit: str
    better: Better
    n: int
    load: float


def load_now() -> float:
    """The machine's 1-minute load average."""
    return round(os.getloadavg()[0], 2)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile; `share` in 0..1."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(measures: Iterable[Measure]) -> tuple[Figure, ...]:
    """One figure per (work, what, unit, system), in the order of first appearance."""
    grouped: dict[tuple[Key, str], list[Measure]] = defaultdict(list)
    for measure in measures:
        grouped[(measure.work, measure.what, measure.unit), measure.system].append(measure)
    return tuple(
        Figure(
            work,
            what,
            system,
            round(median(one.value for one in rounds), 3),
            unit,
            rounds[0].better,
            len(rounds),
            max(one.load for one in rounds),
        )
        for ((work, what, unit), system), rounds in grouped.items()
    )


def ratios(found: Iterable[Figure]) -> dict[tuple[Key, str], float]:
    """Ours over each other system's of the same work; above 1 ours is the better one, whatever the unit."""
    by_key = {((figure.work, figure.what, figure.unit), figure.system): figure for figure in found}
    made: dict[tuple[Key, str], float] = {}
    for (key, system), theirs in by_key.items():
        ours = by_key.get((key, OURS))
        if system == OURS or ours is None or not ours.value or not theirs.value:
            continue
        higher = ours.value / theirs.value
        made[key, system] = round(higher if ours.better == "higher" else 1 / higher, 2)
    return made


def table(found: Sequence[Figure]) -> str:
    """The figures as a Markdown table, beside each other system's how ours compares with it."""
    beside = ratios(found)
    lines = ["| work | system | median | n | load | ours : it |", "| --- | --- | --- | --- | --- | --- |"]
    for figure in found:
        ratio = beside.get(((figure.work, figure.what, figure.unit), figure.system))
        value = f"{figure.value:,.1f} {figure.unit}"
        lines.append(
            f"| {figure.work} {figure.what} | {figure.system} | {value} | {figure.n} "
            f"| {figure.load} | {'' if ratio is None else f'{ratio:.2f}'} |"
        )
    return "\n".join(lines)


def side_by_side(found: Sequence[Figure], mark: str) -> str:
    """One row for all figures whose `what` differs by the amount behind `mark` only."""
    rows: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for figure in found:
        what, marked, amount = figure.what.rpartition(mark)
        if marked:
            rows[figure.work, what.rstrip(" ,"), figure.unit][amount] = figure.value
    amounts = list(dict.fromkeys(amount for values in rows.values() for amount in values))
    lines = [f"| work | {' | '.join(amounts)} | last : first |", f"|{' --- |' * (len(amounts) + 2)}"]
    for (work, what, unit), values in rows.items():
        shown = " | ".join(f"{values[amount]:,.1f}" if amount in values else "" for amount in amounts)
        first, last = values.get(amounts[0]), values.get(amounts[-1])
        ratio = f"{last / first:.2f}" if first and last else ""
        lines.append(f"| {work} {what}, {unit} | {shown} | {ratio} |")
    return "\n".join(lines)


def write_latest(found: Iterable[Figure], path: Path) -> None:
    """Write the list of figures as JSON, replacing an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(figure) for figure in found], indent=2) + "\n", encoding="utf-8")


def merge_latest(found: Sequence[Figure], path: Path) -> None:
    """Write the figures among those that are there, in place of older ones of the same works."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    works = {figure.work for figure in found}
    write_latest([*(Figure(**one) for one in kept if one["work"] not in works), *found], path)
