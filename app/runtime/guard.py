"""A guard process that ends its keeper's children when the keeper dies, however it dies."""

# Run by its path with `python -I`, hence standard library only, no import of the platform.

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import IO

PATIENCE_S = 10.0
"""How long a child may take to stop before it is killed."""


class Guard:
    """Watches processes that lead a group of their own.

    The kernel closes the pipe to the guard when this process ends, `kill -9` included; the guard then sends
    each child still watched its stop signal, waits, kills what is left. Close it in the end.
    """

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter with our own file
            [sys.executable, "-I", "-S", __file__, str(patience_s)],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for the keeper alone
            text=True,
        )
        self._pipe: IO[str] | None = self._process.stdin

    @property
    def pid(self) -> int:
        """The guard's own process id."""
        return self._process.pid

    def watch(self, pid: int, stop: signal.Signals = signal.SIGTERM) -> None:
        """End the group of `pid`, beginning with the signal `stop`, when this process dies."""
        self._say(f"+{pid} {int(stop)}")

    def forget(self, pid: int) -> None:
        """Stop watching `pid`: it has ended."""
        self._say(f"-{pid} 0")

    def close(self) -> None:
        """End what is still watched, then the guard itself."""
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # the guard was killed: nothing left to close
                self._pipe.close()
            self._pipe = None
        self._process.wait()

    def _say(self, line: str) -> None:
        if self._pipe is not None:
            with contextlib.suppress(BrokenPipeError):  # without a guard the children still stop with us
                self._pipe.write(line + "\n")
                self._pipe.flush()


def end_groups(leaders: dict[int, int], patience_s: float) -> None:
    """Send each leader its signal; kill what is left of the groups once the leaders, or the time, are gone.

    The leader decides how its children end; those that outlive it are orphans.
    """
    for leader, stop in leaders.items():
        with contextlib.suppress(ProcessLookupError, PermissionError):  # ended meanwhile
            os.kill(leader, stop)
    until = time.monotonic() + patience_s
    while any(_exists(leader) for leader in leaders) and time.monotonic() < until:
        time.sleep(0.05)
    for leader in leaders:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # all ended in time
            os.killpg(leader, signal.SIGKILL)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # there, under another user
    return True


def main(patience_s: float) -> None:
    """Read `+pid signal` or `-pid 0` lines until the keeper closes the pipe, then end what is left."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_IGN)
    watched: dict[int, int] = {}
    for line in sys.stdin:
        subject, stop = line.split()
        if subject[0] == "+":
            watched[int(subject[1:])] = int(stop)
        else:
            watched.pop(int(subject[1:]), None)
    end_groups(watched, patience_s)


if __name__ == "__main__":
    main(float(sys.argv[1]))
