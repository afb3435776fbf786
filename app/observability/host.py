"""What the host of a process has left, what it has used, read when it is asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
BLOCK = Path("/sys/block")
MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
SECTOR = 512
MADE_OF_OTHERS = ("loop", "ram", "dm-", "md", "zram")
"""Disks that are parts of others, or memory: what they carry is counted there."""

Figure = tuple[str, str, float]


def host_figures(folder: Path) -> list[Figure]:
    """Return name, label, value of each metric of this host; `folder` stands on the disk that fills up.

    Where the kernel shows no /proc only the disk and the load are told.
    """
    disk = shutil.disk_usage(folder)
    return [
        ("quantum_host_disk_free_ratio", "", disk.free / disk.total),
        ("quantum_host_load_ratio", "", os.getloadavg()[0] / (os.cpu_count() or 1)),
        *_memory(PROC / "meminfo"),
        *_processors(PROC / "stat"),
        *_network(PROC / "net" / "dev"),
        *_disks(PROC / "diskstats", BLOCK),
    ]


def _memory(file: Path) -> Iterator[Figure]:
    kib = {words[0]: float(words[1]) for words in _words(file) if len(words) > 1}
    if kib:
        yield "quantum_host_memory_free_ratio", "", kib["MemAvailable:"] / kib["MemTotal:"]


def _processors(file: Path) -> Iterator[Figure]:
    ticks = os.sysconf("SC_CLK_TCK")
    for words in _words(file):
        if words[0] == "cpu":
            for mode, spent in zip(MODES, words[1:], strict=False):
                yield "quantum_host_cpu_seconds_total", mode, float(spent) / ticks


def _network(file: Path) -> Iterator[Figure]:
    received = sent = 0.0
    rows = [words for words in _words(file) if words[0].endswith(":") and words[0] != "lo:"]
    for words in rows:
        received, sent = received + float(words[1]), sent + float(words[9])
    if rows:
        yield "quantum_host_network_bytes_total", "received", received
        yield "quantum_host_network_bytes_total", "sent", sent


def _disks(file: Path, block: Path) -> Iterator[Figure]:
    whole = {disk.name for disk in block.iterdir()} if block.is_dir() else set()
    rows = [words for words in _words(file) if words[2] in whole and not words[2].startswith(MADE_OF_OTHERS)]
    if rows:
        yield "quantum_host_disk_bytes_total", "read", sum(float(words[5]) for words in rows) * SECTOR
        yield "quantum_host_disk_bytes_total", "written", sum(float(words[9]) for words in rows) * SECTOR


def _words(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines() if line.strip()] if file.exists() else []
