"""The pool processes of a worker, told apart by number with time of birth."""

from __future__ import annotations

import subprocess
import zlib
from collections.abc import Iterable
from pathlib import Path

from app.domain.leases import Child

ZOMBIE = "Z"
"""State of a process that is dead; its parent has not asked for its end yet."""
START_FIELD = 19
"""Place of `starttime` in /proc/PID/stat, counted after the name in brackets."""


def born(pid: int) -> int | None:
    """Return a number that is this process's own among all of equal pid, or None when it is dead."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        fields = stat.read_text().rpartition(")")[2].split()
        return None if fields[0] == ZOMBIE else int(fields[START_FIELD])
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except ProcessLookupError:
        return None
    # macOS has no /proc: the start time as text, made a number.
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a pid only
    return zlib.crc32(told.stdout.encode()) if told.stdout.strip() else None


class KnownChildren:
    """The processes seen so far; `vanished` tells which of them are gone."""

    def __init__(self) -> None:
        self._known: dict[int, Child] = {}

    def see(self, pid: int) -> Child | None:
        """Return the process as first seen: looked up once, as it may be dead when it is asked for."""
        child = self._known.get(pid)
        if child is None:
            birth = born(pid)
            if birth is None:
                return None
            child = self._known[pid] = Child(pid, birth)
        return child

    def forget(self, child: Child) -> None:
        """Drop a process that is known to be dead."""
        if self._known.get(child.pid) == child:
            del self._known[child.pid]

    def live(self, pids: Iterable[int]) -> list[Child]:
        """Return the processes with these numbers that live."""
        return [child for pid in pids if (child := self.see(pid)) is not None and born(pid) == child.born]

    def vanished(self, live: Iterable[Child]) -> list[Child]:
        """Return the processes seen before that are not among the live ones."""
        alive = set(live)
        return [child for child in self._known.values() if child not in alive]
