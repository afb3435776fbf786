"""The supervisor of the platform's processes: starts them, restarts one that exits, ends them all."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard, end_groups
from app.settings.state import checkout

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
STEADY_AFTER_S = 30.0
"""A process that ran this long is well again: its next restart is as quick as the first."""
LOOK_EVERY_S = 0.1

Output = Callable[[str, str], None]
"""Takes the name of a process with one line it wrote."""


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One line of a Procfile: `command` is given to the shell, which fills in the variables."""

    name: str
    command: str


def read_procfile(path: Path | None = None) -> tuple[ProcessSpec, ...]:
    """Return the processes of a Procfile, by default the checkout's; raises `RuntimeFailure` without one."""
    path = path or checkout() / "Procfile"
    if not path.is_file():
        raise RuntimeFailure(f"there is no {path}: run from a checkout")
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    parts = [line.partition(":") for line in lines]
    return tuple(ProcessSpec(name.strip(), command.strip()) for name, _, command in parts)


def child_environment(environ: Mapping[str, str], state: Path) -> dict[str, str]:
    """Return what the processes need beside `environ`: this virtual environment, one metrics folder."""
    metrics = state / "run" / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)  # counters of processes that are gone
    metrics.mkdir(parents=True)
    programs = Path(sys.executable).parent
    return {
        **environ,
        "PATH": f"{programs}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(slots=True)
class _Child:
    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    pause: float = FIRST_PAUSE_S
    readers: list[threading.Thread] = field(default_factory=list)


class Supervisor:
    """Runs each process in a group of its own; all end with it, even when it is killed with -9."""

    def __init__(
        self,
        specs: Sequence[ProcessSpec],
        environ: Mapping[str, str],
        output: Output,
        *,
        folder: Path | None = None,
        patience_s: float = 10.0,
    ) -> None:
        self._children = [_Child(spec) for spec in specs]
        self._environ = dict(environ)
        self._output = output
        self._folder = folder or checkout()
        self._patience_s = patience_s
        self._guard: Guard | None = None

    def start(self) -> None:
        """Start every process."""
        self._guard = Guard(self._patience_s)
        for child in self._children:
            self._launch(child)

    def pids(self) -> dict[str, int]:
        """Return the process ids of those that run now, by name."""
        return {
            child.spec.name: child.process.pid
            for child in self._children
            if child.process is not None and child.process.poll() is None
        }

    def look(self) -> None:
        """Restart what has exited, each after its pause; call it again and again."""
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._buried(child, now)
            if child.process is None and now >= child.due:
                self._launch(child)

    def stop(self) -> None:
        """End every process with its children: in order first, by force after the patience."""
        groups = {child.process.pid: int(signal.SIGTERM) for child in self._children if child.process}
        reapers = [
            threading.Thread(target=child.process.wait, daemon=True)
            for child in self._children
            if child.process
        ]
        for reaper in reapers:  # an unreaped leader would keep its group alive
            reaper.start()
        end_groups(groups, self._patience_s)
        for child in self._children:
            if child.process is not None:
                child.process.wait()
                child.process = None
            for reader in child.readers:
                reader.join(1.0)
        if self._guard is not None:
            for group in groups:
                self._guard.forget(group)
            self._guard.close()
            self._guard = None

    @contextlib.contextmanager
    def running(self) -> Iterator[Supervisor]:
        """Run everything for the time of a `with` block, looked after by a thread."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(LOOK_EVERY_S):
                self.look()

        keeper = threading.Thread(target=keep, name="supervisor", daemon=True)
        self.start()
        keeper.start()
        try:
            yield self
        finally:
            ended.set()
            keeper.join()
            self.stop()

    def run(self, also: Callable[[], None] = lambda: None) -> None:
        """Run everything until SIGINT, SIGTERM or SIGHUP; `also` is called at each look."""
        asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: asked.set())
        try:
            self.start()
            while not asked.wait(LOOK_EVERY_S):
                self.look()
                also()
        finally:
            self.stop()

    def _launch(self, child: _Child) -> None:
        process = subprocess.Popen(  # noqa: S603 - commands of our own Procfile
            ["/bin/sh", "-c", f"exec {child.spec.command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environ,
            cwd=self._folder,
            start_new_session=True,
        )
        if self._guard is not None:
            self._guard.watch(process.pid)
        reader = threading.Thread(target=self._pass_on, args=(child.spec.name, process), daemon=True)
        reader.start()
        child.readers = [thread for thread in child.readers if thread.is_alive()] + [reader]
        child.process = process
        child.started = time.monotonic()

    def _buried(self, child: _Child, now: float) -> None:
        """Clear away what an exited process left, then plan its restart."""
        assert child.process is not None
        code = child.process.returncode
        end_groups({child.process.pid: int(signal.SIGKILL)}, 0.0)  # children whose parent is gone
        if self._guard is not None:
            self._guard.forget(child.process.pid)
        if now - child.started >= STEADY_AFTER_S:
            child.pause = FIRST_PAUSE_S
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        self._output("system", f"{child.spec.name} {how}; it starts again in {child.pause:g} s")
        child.due = now + child.pause
        child.pause = min(child.pause * 2, LONGEST_PAUSE_S)
        child.process = None

    def _pass_on(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as pipe:
            for line in pipe:
                self._output(name, line.decode(errors="replace").rstrip("\n"))


def wait_until_healthy(api_url: str, within_s: float = 60.0) -> None:
    """Wait until the API at `api_url` says that every part is ready; raises `RuntimeFailure`."""
    until = time.monotonic() + within_s
    last = "no answer"
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{api_url}/readyz", timeout=2):  # noqa: S310 - our own http URL
                return
        except urllib.error.HTTPError as refused:
            last = f"{refused.code} {refused.read(500).decode(errors='replace')}"
        except OSError as failed:
            last = str(failed)
        time.sleep(0.1)
    raise RuntimeFailure(f"{api_url}/readyz was not ready within {within_s:g} s: {last}")
