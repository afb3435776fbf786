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
OURS, PEER = "ours", "celery"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured value of one round; `load` is the 1-minute load average when it began."""

    work: str
    system: str
    value: float
    unit: str
    better: Better
    load: float


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of a measure over its n rounds; `load` is the highest of theirs."""

    work: str
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
    """One figure per (work, system, unit), in the order of first appearance."""
    grouped: dict[tuple[str, str, str], list[Measure]] = defaultdict(list)
    for measure in measures:
        grouped[measure.work, measure.system, measure.unit].append(measure)
    return tuple(
        Figure(
            work,
            system,
            round(median(one.value for one in rounds), 3),
            unit,
            rounds[0].better,
            len(rounds),
            max(one.load for one in rounds),
        )
        for (work, system, unit), rounds in grouped.items()
    )


def ratios(found: Iterable[Figure]) -> dict[tuple[str, str], float]:
    """Ours over the peer's for each (work, unit) that both have; above 1 is better, whatever the unit."""
    by_key = {(figure.work, figure.unit, figure.system): figure for figure in found}
    made: dict[tuple[str, str], float] = {}
    for (work, unit, system), ours in by_key.items():
        theirs = by_key.get((work, unit, PEER))
        if system != OURS or theirs is None or not ours.value or not theirs.value:
            continue
        higher = ours.value / theirs.value
        made[work, unit] = round(higher if ours.better == "higher" else 1 / higher, 2)
    return made


def table(found: Sequence[Figure]) -> str:
    """The figures as a Markdown table, the ratio beside ours."""
    beside = ratios(found)
    lines = ["| work | system | median | n | load | ours : celery |", "| --- | --- | --- | --- | --- | --- |"]
    for figure in found:
        ratio = beside.get((figure.work, figure.unit)) if figure.system == OURS else None
        lines.append(
            f"| {figure.work} | {figure.system} | {figure.value:,.1f} {figure.unit} | {figure.n} "
            f"| {figure.load} | {'' if ratio is None else f'{ratio:.2f}'} |"
        )
    return "\n".join(lines)


def write_latest(found: Iterable[Figure], path: Path) -> None:
    """Write the list of figures as JSON, replacing an older one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(figure) for figure in found], indent=2) + "\n", encoding="utf-8")
