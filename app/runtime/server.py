"""What the embedded PostgreSQL has in common with the embedded Valkey: a child process that is watched."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.runtime.identity import Identity

START_WITHIN_S = 300.0
"""Recovery after a crash may take minutes on a busy machine; one that fails ends, which is seen at once."""
ANSWER_WITHIN_S = 30
"""A server that does not serve yet refuses at once; one that gets little of the processors takes its time."""
STOP_WITHIN_S = 20.0


class ServerProcess:
    """One server program: started as the servers' user, waited for, stopped by its signal, reaped."""

    def __init__(self, name: str, log: Path, guard: Guard, identity: Identity, stop: signal.Signals) -> None:
        self.name = name
        self._log = log
        self._guard = guard
        self._identity = identity
        self._stop_signal = stop
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id; raises `RuntimeFailure` when it does not run."""
        if self._process is None:
            raise RuntimeFailure(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self, command: list[str], ready: Callable[[], bool], within_s: float = START_WITHIN_S) -> None:
        """Start `command`, then wait until `ready()`; raises `RuntimeFailure` with the end of its log."""
        if self._process is not None:
            self._reap()  # it ended by itself
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program of our wheels with our arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._log.parent,
                **self._identity.popen(),
            )
        self._guard.watch(self._process.pid, self._stop_signal)
        until = time.monotonic() + within_s
        while not ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise RuntimeFailure(f"{self.name} did not start; {self._log} ends:\n{_tail(self._log)}")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stop the server in its orderly way; kill it when that takes too long."""
        if self._process is None:
            return
        self._process.send_signal(self._stop_signal)
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """Kill the server with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._guard.forget(self._process.pid)
            self._process = None


class EmbeddedServer:
    """A server program of ours, as those see it who only want to know whether it runs, or to end it."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id; raises `RuntimeFailure` when it does not run."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process.running

    def stop(self) -> None:
        """Stop it in its orderly way, with everything written; clients are cut off."""
        self._process.stop()

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would; children of it notice, then end."""
        self._process.kill()


def _tail(log: Path, lines: int = 5) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
