"""What one process uses of its host."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from app.observability.metrics import (
    PROCESS_CPU,
    PROCESS_FILES,
    PROCESS_MEMORY,
    PROCESS_THREADS,
    PROCESSES,
)

STATM = Path("/proc/self/statm")
FILES = Path("/proc/self/fd")
_PAGE = resource.getpagesize()
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


class ProcessGauges:
    """Tells the metrics of its process, under the name of what it does; asked again and again."""

    def __init__(self, process: str, cpu_s: Callable[[], float] = time.process_time) -> None:
        self._process = process
        self._cpu_s = cpu_s
        self._told_s = 0.0
        self._pid = os.getpid()

    def tell(self) -> None:
        """Bring the metrics up to date."""
        if self._pid != os.getpid():
            self._pid, self._told_s = os.getpid(), 0.0  # a fork: its processor time begins at nothing
        used_s = self._cpu_s()
        PROCESS_CPU.labels(self._process).inc(max(used_s - self._told_s, 0.0))
        self._told_s = used_s
        PROCESSES.labels(self._process).set(1)
        PROCESS_MEMORY.labels(self._process).set(_resident())
        PROCESS_THREADS.labels(self._process).set(threading.active_count())
        if FILES.exists():
            PROCESS_FILES.labels(self._process).set(sum(1 for _ in FILES.iterdir()))


def _resident() -> float:
    """Return the bytes of memory in use; where /proc is missing, the most there ever were."""
    if STATM.exists():
        return float(STATM.read_text().split()[1]) * _PAGE
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * _PEAK_UNIT
