"""What the host of a process has left, read when it is asked for."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/proc/meminfo")


def host_gauges(folder: Path) -> list[tuple[str, str, float]]:
    """Return name, label, value of each gauge of this host; `folder` stands on the disk that fills up."""
    disk = shutil.disk_usage(folder)
    gauges = [
        ("quantum_host_disk_free_ratio", "", disk.free / disk.total),
        ("quantum_host_load_ratio", "", os.getloadavg()[0] / (os.cpu_count() or 1)),
    ]
    if MEMORY.exists():
        lines = (line.split() for line in MEMORY.read_text().splitlines())
        kib = {words[0]: float(words[1]) for words in lines}
        gauges.append(("quantum_host_memory_free_ratio", "", kib["MemAvailable:"] / kib["MemTotal:"]))
    return gauges
