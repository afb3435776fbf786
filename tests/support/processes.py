"""Real processes under test: started with a log, watched, always ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from app.runtime.guard import Guard, end_groups
from app.runtime.processes import process_status
from app.settings import inherited_environment
from tests.support.waiting import eventually, patience

BIN = Path(sys.executable).parent
"""Where the programs of this virtual environment are: celery, granian, quantum."""

_guards: list[Guard] = []


def session_guard() -> Guard:
    """Return the guard of this test process: it ends what a killed pytest would leave."""
    if not _guards:
        _guards.append(Guard())
    return _guards[0]


class OsProcess:
    """One process with its own group; its output goes to a file."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.command = list(command)
        self.log = log
        self.folder = folder
        self.environ = {**inherited_environment(), "PATH": f"{BIN}:{os.defpath}", **(environ or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> OsProcess:
        """Start it, or start it anew after it ended; the log grows on."""
        self._process = self._begun()
        session_guard().watch(self._process.pid)
        return self

    def _begun(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environ,
                cwd=self.folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal when one ended it."""
        assert self._process is not None, "not started"
        return self._process.poll()

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, text: str, *, within: float = 30.0) -> None:
        """Wait until the output contains `text`; fail at once when the process ends before."""

        def seen() -> bool:
            assert text in self.output or self.exit_code is None, (
                f"{self.command[0]} ended with {self.exit_code} before {text!r}:\n{self.output[-3000:]}"
            )
            return text in self.output

        try:
            eventually(seen, within=within, what=text)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\noutput ends:\n{self.output[-3000:]}") from None

    def wait(self, *, within: float = 30.0) -> int:
        """Wait for its end; return the exit code."""
        assert self._process is not None, "not started"
        return self._process.wait(within * patience())

    def children(self) -> list[int]:
        """Return the pids of its live direct children."""
        return children_of(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Send one signal to the process alone, not to its children."""
        assert self._process is not None, "not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process alone with -9, as a crash would; its children stay."""
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self, *, patience: float = 10.0) -> None:
        """End the whole group: in order first, then by force."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(patience)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        end_groups({self._process.pid: signal.SIGTERM}, 1.0)
        session_guard().forget(self._process.pid)

    def end(self) -> None:
        """Kill the whole group at once, for whoever has nothing more to ask of it."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):  # all ended by themselves
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        session_guard().forget(self._process.pid)

    def __enter__(self) -> OsProcess:
        return self if self._process is not None else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def children_of(pid: int) -> list[int]:
    """Return the pids of the live direct children of `pid`."""
    shown = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    found = [int(word) for word in shown.stdout.split()]
    return [child for child in found if is_alive(child)]


def is_alive(pid: int) -> bool:
    """Tell whether `pid` runs: a zombie does not."""
    return process_status(pid)[0] not in ("", "Z")
