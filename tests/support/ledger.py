"""The append-only ledger of side effects, with the check that nothing ran that should not have."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOCK_SLACK_S = 0.005
"""The operation's clock and PostgreSQL's are one clock of one machine, read at different depths."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: an operation began or ended; `place` is its line number."""

    place: int
    event: str
    run: str
    step: str
    idempotency_key: str
    attempt: int
    pid: int
    at: float


class Ledger:
    """A file that operations append to, each line in one write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, event: str, run: str, step: str, idempotency_key: str, attempt: int) -> None:
        """Append one line; safe from many processes at once."""
        line = json.dumps(
            {
                "event": event,
                "run": run,
                "step": step,
                "idempotency_key": idempotency_key,
                "attempt": attempt,
                "pid": os.getpid(),
                # Not time.time(), which a test of jumping clocks shifts: the ledger tells the true time.
                "at": time.clock_gettime(time.CLOCK_REALTIME),
            }
        )
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode() + b"\n")
        finally:
            os.close(handle)

    def entries(self, run: str | None = None) -> list[Entry]:
        """Return the lines, those of one run if named."""
        if not self.path.exists():
            return []
        found = [
            Entry(place, **json.loads(line)) for place, line in enumerate(self.path.read_text().splitlines())
        ]
        return [entry for entry in found if run is None or entry.run == run]

    def begun(self, run: str, step: str) -> list[Entry]:
        """Return the invocations of one step."""
        return [entry for entry in self.entries(run) if entry.step == step and entry.event == "begin"]


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step as its row tells it at the end; times in seconds since 1970."""

    key: str
    base: str
    state: str
    round: int
    tries: int
    finished_at: float | None
    attempts: Mapping[str, int]
    """How many attempts ended in each state."""


def check(
    ledger: Ledger,
    run: str,
    rows: Collection[StepRow],
    needs: Mapping[str, Collection[str]],
    *,
    kills: int = 0,
) -> None:
    """Assert that the ledger agrees with the rows of a run that ended; `kills` deaths were injected.

    No step is lost, no join comes early, nothing is invoked after its step was committed, and no invocation
    is without its own attempt; attempts beyond the first are explained by a retry or by an injected death.
    """
    entries = ledger.entries(run)
    begins: dict[str, list[Entry]] = defaultdict(list)
    ends: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        (begins if entry.event == "begin" else ends)[entry.step].append(entry)
    by_base: dict[str, list[StepRow]] = defaultdict(list)
    for row in rows:
        by_base[row.base].append(row)
    faults = []
    for row in rows:
        faults += _faults_of(run, row, begins[row.key], ends[row.key])
        for need in needs.get(row.base, ()):
            faults += _early(row, begins[row.key], by_base[need], ends)
    died = sum(row.attempts.get("killed", 0) for row in rows)
    if died > kills:
        faults.append(f"{died} attempts were killed, {kills} deaths were injected")
    strange = begins.keys() - {row.key for row in rows}
    faults += [f"{key} was invoked but has no row" for key in strange]
    assert not faults, "\n".join(faults)


def _faults_of(run: str, row: StepRow, begins: list[Entry], ends: list[Entry]) -> list[str]:
    faults = []
    if row.state == "succeeded" and not ends and begins:
        faults.append(f"{row.key} succeeded but never ended")
    if row.state in ("pending", "ready", "running", "waiting"):
        faults.append(f"{row.key} is lost: it stands {row.state} in a run that ended")
    if len(begins) > row.tries:
        faults.append(f"{row.key} was invoked {len(begins)} times in {row.tries} attempts")
    repeated = row.tries - 1 - row.round
    explained = row.attempts.get("killed", 0) + row.attempts.get("retry", 0)
    if repeated > explained:
        faults.append(f"{row.key} had {row.tries} attempts, only {explained} repetitions are explained")
    expected = {f"{run}:{row.key}:{number}" for number in range(row.round + 1)}
    faults += [
        f"{row.key} ran under {entry.idempotency_key}"
        for entry in begins
        if entry.idempotency_key not in expected
    ]
    if row.finished_at is not None:
        faults += [
            f"{row.key} was invoked after its step was committed"
            for entry in begins
            if entry.at > row.finished_at + CLOCK_SLACK_S
        ]
    return faults


def _early(
    row: StepRow, begins: list[Entry], needed: list[StepRow], ends: Mapping[str, list[Entry]]
) -> list[str]:
    """Tell which needs had not ended when the step first began."""
    if not begins:
        return []
    first = begins[0]
    return [
        f"{row.key} began before {need.key} ended"
        for need in needed
        if need.state == "succeeded" and ends[need.key] and ends[need.key][0].place > first.place
    ]


def as_row(record: Mapping[str, Any]) -> StepRow:
    """Return the row of a query whose columns are named like the fields."""
    return StepRow(**record)
