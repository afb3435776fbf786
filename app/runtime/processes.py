"""What the operating system tells of other processes."""

from __future__ import annotations

import subprocess
from pathlib import Path


def process_status(pid: int) -> tuple[str, str]:
    """Return the state letter (`Z`: zombie) with the command line of `pid`; both empty when it is gone."""
    proc = Path("/proc") / str(pid)
    if Path("/proc/self").exists():
        try:
            command = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            return (proc / "stat").read_text().rpartition(")")[2].split()[0], command
        except (FileNotFoundError, ProcessLookupError):
            return "", ""
    shown = subprocess.run(  # noqa: S603 - fixed arguments; systems without /proc have ps here
        ["/bin/ps", "-o", "stat=,command=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, command = shown.partition(" ")
    return state[:1], command
