"""The `quantum` command without its imports: a process that has made them forks itself for each call."""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from app.cli import COMMANDS, main
from tests.support.processes import session_guard

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 120.0
STREAMS = ("in", "out", "err")


class PreparedCommand:
    """Calls `quantum` in a new process each time, as the installed program would, in a tenth of its time.

    What is spared is the start of Python with the imports: half a second of a processor for each call.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.prepared"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
            start_new_session=True,
        )
        session_guard().watch(self._process.pid, signal.SIGKILL)

    def __call__(
        self, arguments: Sequence[str], environ: Mapping[str, str], typed: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run `quantum` with these arguments, nothing but these variables; `typed` is its input."""
        with tempfile.TemporaryDirectory() as folder:
            files = {stream: Path(folder, stream) for stream in STREAMS}
            files["in"].write_text(typed)
            code = self._ask({"arguments": arguments, "environ": environ, "folder": folder})
            out, err = (files[stream].read_text() for stream in ("out", "err"))
        return subprocess.CompletedProcess(["quantum", *arguments], code, out, err)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        session_guard().forget(self._process.pid)

    def _ask(self, call: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(call) + "\n")
        self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], WITHIN_S)
        assert ready, f"{call['arguments']} has not ended after {WITHIN_S:g} s"
        return int(self._process.stdout.readline())


def serve() -> None:
    """Fork a child for each line of the input; answer with its exit code."""
    for target in set(COMMANDS.values()):
        importlib.import_module(target.partition(":")[0])
    gc.collect()
    gc.freeze()  # a child that looked through what it has inherited would copy all of it
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(call: Mapping[str, Any]) -> NoReturn:
    """Be the command, in a process that has just been forked."""
    for number, stream in enumerate(STREAMS):
        flags = os.O_RDONLY if stream == "in" else os.O_WRONLY | os.O_CREAT
        os.dup2(os.open(Path(call["folder"], stream), flags, 0o600), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - lives as long as the process
    sys.argv = ["quantum", *call["arguments"]]
    code = 1
    try:
        with mock.patch.dict("os.environ", call["environ"], clear=True):
            main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)  # as the interpreter does
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # to take all modules down one by one would cost more than the command


if __name__ == "__main__":
    serve()
