"""How every check tells its faults: one line each, exit code 1 when there are any."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One place where a rule is broken."""

    path: str
    line: int
    words: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words}"


def tell(faults: Iterable[Fault]) -> int:
    """Print the faults in order; return the exit code."""
    found = sorted(faults)
    for fault in found:
        print(fault)
    return 1 if found else 0
