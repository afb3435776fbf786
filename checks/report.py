"""How every check tells its faults: one line each, exit code 1 when there are any."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def tell_document(
    document: dict[str, Any], faults: Iterable[str], committed: Path, stale: str, *, write: bool
) -> int:
    """Print what is wrong with a document that is made, `stale` when the committed one is another.

    With `write` it becomes the committed one. Returns the exit code.
    """
    found = list(faults)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    if write:
        committed.write_text(text, encoding="utf-8")
    elif not committed.exists() or committed.read_text(encoding="utf-8") != text:
        found.append(stale)
    for line in found:
        print(line)
    return 1 if found else 0
