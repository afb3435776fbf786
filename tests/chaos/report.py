"""The table of a chaos run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from tests.chaos.faults import Fault
from tests.chaos.finding import Finding

JUDGED = 10
HEAD = (
    f"{'fault':<22}{'times':>6}{'in flight':>11}{'chords':>8}{'runs':>6}{'lost':>6}{'twice':>7}"
    f"{'recovery p50':>14}{'p95':>8}{'target':>8}"
)


@dataclass(frozen=True, slots=True)
class Injection:
    """One harm: when it began, what was in flight, how long its mark stayed (None: it never went)."""

    fault: Fault
    at: Any
    steps: int
    chords: int
    runs: int
    recovery_s: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """The row of one fault."""

    fault: Fault
    injections: Sequence[Injection]
    lost: int
    twice: int

    @property
    def seconds(self) -> list[float]:
        return sorted(one.recovery_s for one in self.injections if one.recovery_s is not None)

    @property
    def p95(self) -> float:
        """The smallest that 95 of 100 do not exceed, by nearest rank; the longest when there are few."""
        seconds = self.seconds
        return seconds[ceil(0.95 * len(seconds)) - 1] if seconds else float("inf")

    def bad(self) -> bool:
        """Tell whether something that must be zero is not, or a target is missed.

        A percentile of fewer than `JUDGED` samples is told, not judged.
        """
        judged = len(self.injections) >= JUDGED and self.fault.target_s is not None
        late = judged and self.p95 > (self.fault.target_s or 0.0)
        return bool(self.lost or self.twice or late or any(one.recovery_s is None for one in self.injections))

    def __str__(self) -> str:
        least = min(one.steps for one in self.injections)
        chords = min(one.chords for one in self.injections)
        runs = min(one.runs for one in self.injections)
        middle = f"{statistics.median(self.seconds):.1f} s" if self.seconds else "never"
        target = f"{self.fault.target_s:g} s" if self.fault.target_s else ""
        return (
            f"{self.fault.name:<22}{len(self.injections):>6}{f'>= {least}':>11}{f'>= {chords}':>8}{runs:>6}"
            f"{self.lost:>6}{self.twice:>7}{middle:>14}{f'{self.p95:.1f} s':>8}{target:>8}"
        )


def lines(injections: Sequence[Injection], findings: Sequence[Finding], ended: dict[Any, Any]) -> list[Line]:
    """Return one line for each fault; a finding belongs to the last harm before its run ended."""
    blamed: dict[int, list[Finding]] = {}
    for finding in findings:
        at = ended.get(finding.run)
        before = [number for number, one in enumerate(injections) if at is None or one.at <= at]
        blamed.setdefault(before[-1] if before else 0, []).append(finding)
    found = []
    for fault in dict.fromkeys(one.fault for one in injections):
        numbers = [number for number, one in enumerate(injections) if one.fault == fault]
        kinds = [finding.kind for number in numbers for finding in blamed.get(number, ())]
        twice = sum(kind in ("duplicated", "early") for kind in kinds)
        found.append(Line(fault, [injections[n] for n in numbers], len(kinds) - twice, twice))
    return found
