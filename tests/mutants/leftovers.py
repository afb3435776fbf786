"""Processes that outlive the test which started them, because a mutant ought to have ended them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.support.processes import is_alive
from tests.support.waiting import eventually

MARK = "MUTANT_RUN"
"""A variable that a run's processes inherit from each other, with a value of its own."""
PATIENCE_S = 5.0
"""How long each guard of the tests may take, then each process that is asked to end."""


def left_over(mark: str) -> list[int]:
    """Return the live processes whose environment carries this mark; none where there is no /proc."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it has just ended, or is somebody else's
            if wanted in entry.read_bytes().split(b"\0"):
                found.append(int(entry.parent.name))
    return [pid for pid in found if is_alive(pid)]


def end_left_over(mark: str) -> list[int]:
    """End what is left of a run once its guards had their time; return what had to be ended."""
    with suppress(AssertionError):
        eventually(lambda: not left_over(mark), within=PATIENCE_S)
    orphans = left_over(mark)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in left_over(mark):
            with suppress(ProcessLookupError):  # it ended a moment ago
                os.kill(pid, number)
        with suppress(AssertionError):
            eventually(lambda: not left_over(mark), within=PATIENCE_S)
    return orphans
