"""Our programs without their imports: a process that has made them forks itself for each start."""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from app.cli import COMMANDS
from tests.support.processes import OsProcess, session_guard
from tests.support.waiting import patience

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 120.0
STREAMS = ("in", "out", "err")
PROGRAMS = {"quantum": "app.cli:main", "celery": "celery.__main__:main"}
IMPORTED = (
    *{target.partition(":")[0] for target in COMMANDS.values()},
    "app.bootstrap.celery",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "tests.support.testkit",
)
"""Without the tasks: what they share with the processes of a pool, they make when they are imported."""
OWN_IMPORTS = frozenset({"PROMETHEUS_MULTIPROC_DIR", "PYTHONPATH"})
"""Variables that decide what an import finds, or makes: with one of them the program itself is started."""


class PreparedPrograms:
    """Starts `quantum` or `celery` in a new process each time, as the program itself, in a tenth of its time.

    What is spared is the start of Python with the imports: more than a second of a processor for a worker.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.prepared"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        session_guard().watch(self._process.pid, signal.SIGKILL)
        self._lock = threading.RLock()
        self._rest = b""
        self._pids: list[int] = []
        self._codes: dict[int, int] = {}

    def start(
        self, words: Sequence[str], environ: Mapping[str, str], streams: Sequence[Path], *, leads: bool = True
    ) -> PreparedProcess:
        """Start a program with its arguments, nothing but these variables.

        `streams` are its input, output, errors. It leads a session of its own unless told not to.
        """
        call = {"words": words, "environ": environ, "streams": [*map(str, streams)], "leads": leads}
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(call).encode() + b"\n")
            self._process.stdin.flush()
            while not self._pids:
                assert self.hear(WITHIN_S), f"{words} is not started after {WITHIN_S:g} s"
            return PreparedProcess(self, self._pids.pop())

    def __call__(
        self, arguments: Sequence[str], environ: Mapping[str, str], typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `quantum` with these arguments, nothing but these variables; `typed` is its input."""
        with tempfile.TemporaryDirectory() as folder:
            streams = [Path(folder, stream) for stream in STREAMS]
            streams[0].write_text(typed)
            process = self.start(["quantum", *arguments], environ, streams, leads=False)
            try:
                code = process.wait(WITHIN_S * patience())
            except subprocess.TimeoutExpired as late:
                process.kill()
                raise AssertionError(f"{arguments} has not ended after {late.timeout:g} s") from late
            out, err = (stream.read_text() for stream in streams[1:])
        return subprocess.CompletedProcess(["quantum", *arguments], code, out, err)

    def close(self) -> None:
        """End the process; what it started lives on."""
        self._process.kill()
        self._process.communicate()
        session_guard().forget(self._process.pid)

    def code(self, pid: int) -> int | None:
        """Return the exit code of a process that has ended, as far as it is heard of."""
        return self._codes.get(pid)

    def hear(self, within: float) -> bool:
        """Take in what the process tells next; whether it told anything in so many seconds."""
        assert self._process.stdout is not None
        with self._lock:
            if not select.select([self._process.stdout], [], [], within)[0]:
                return False
            told = os.read(self._process.stdout.fileno(), 65536)
            assert told, "the prepared process has ended"
            *lines, self._rest = (self._rest + told).split(b"\n")
            for line in lines:
                word, pid, code = line.split()
                if word == b"started":
                    self._codes.pop(int(pid), None)  # the number of a process comes again
                    self._pids.append(int(pid))
                else:
                    self._codes[int(pid)] = int(code)
            return True


class PreparedProcess:
    """One process that was forked; it is asked like a Popen."""

    def __init__(self, programs: PreparedPrograms, pid: int) -> None:
        self._programs = programs
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        return self._heard(0)

    def wait(self, timeout: float = WITHIN_S) -> int:
        """Wait for the end; raises TimeoutExpired."""
        until = time.monotonic() + timeout
        while self._heard(0.05) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
        assert self.returncode is not None
        return self.returncode

    def _heard(self, within: float) -> int | None:
        """Return the exit code as soon as it is heard of, or None after so many seconds of silence."""
        while self.returncode is None:
            self.returncode = self._programs.code(self.pid)
            if self.returncode is None and not self._programs.hear(within):
                break
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # ended just now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)


class Program(OsProcess):
    """One of our programs under test, from the prepared process unless it needs imports of its own."""

    def _begun(self) -> Any:
        if self.folder is not None or OWN_IMPORTS & self.environ.keys() or self.command[0] not in PROGRAMS:
            return super()._begun()
        return programs().start(self.command, self.environ, (Path(os.devnull), self.log, self.log))


_programs: list[PreparedPrograms] = []


def programs() -> PreparedPrograms:
    """Return the prepared programs of this test process."""
    if not _programs:
        _programs.append(PreparedPrograms())
    return _programs[0]


def close_programs() -> None:
    """End the prepared process, if there is one."""
    while _programs:
        _programs.pop().close()


def serve() -> None:
    """Fork a child for each line of the input; tell when one is started, when one has ended."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert not any(name.startswith("tasks.") for name in sys.modules), "workers must share nothing"
    gc.collect()
    gc.freeze()  # a child that looked through what it has inherited would copy all of it
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking)
    rest = b""
    while True:
        ready, _, _ = select.select([0, woken], [], [])
        if woken in ready:
            os.read(woken, 65536)
            tell_ends()
        if 0 in ready:
            asked = os.read(0, 65536)
            if not asked:
                return
            *lines, rest = (rest + asked).split(b"\n")
            for line in lines:
                begun, begins = os.pipe()
                child = os.fork()
                if child == 0:
                    become(json.loads(line), begins, (begun, woken, waking))
                os.close(begins)
                os.read(begun, 1)  # until it is a process of its own
                os.close(begun)
                print("started", child, 0, flush=True)


def tell_ends() -> None:
    """Tell the exit code of each child that has ended."""
    with contextlib.suppress(ChildProcessError):  # there is none
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            print("ended", child, os.waitstatus_to_exitcode(status), flush=True)


def become(call: Mapping[str, Any], begins: int, inherited: Sequence[int]) -> NoReturn:
    """Be the program, in a process that has just been forked; closing `begins` tells that it is one."""
    if call["leads"]:
        os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (*inherited, begins):
        os.close(number)
    for number, stream in enumerate(call["streams"]):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        opened = os.open(stream, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    os.environ.clear()
    os.environ.update(call["environ"])
    sys.argv = call["words"]
    module, _, main = PROGRAMS[sys.argv[0]].partition(":")
    run = getattr(importlib.import_module(module), main)
    if call["leads"]:
        sys.exit(run())
    command(run)


def command(run: Callable[[], object]) -> NoReturn:
    """Run it, then leave at once: to take all modules down one by one would cost more than a command."""
    code = 1
    try:
        run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)  # as the interpreter does
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
