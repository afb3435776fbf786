"""The supervisor: restarts what exits, leaves no orphan."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from app.runtime.failure import RuntimeFailure
from app.runtime.supervisor import ProcessSpec, Supervisor, child_environment, read_procfile
from app.settings import inherited_environment
from tests.support.processes import BIN, OsProcess, is_alive
from tests.support.waiting import eventually

PARENT_WITH_CHILD = "sh -c 'sleep 300 & echo child $!; wait'"
"""A process that has a child of its own, as a prefork worker has."""


class Lines:
    """Collects what the processes write."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.seen.append((name, line))

    def of(self, name: str) -> list[str]:
        return [line for source, line in self.seen if source == name]


def supervisor(*specs: ProcessSpec, output: Lines, **options: float) -> Supervisor:
    return Supervisor(specs, inherited_environment(), output, folder=Path("/"), **options)


def test_an_exited_process_starts_again_after_a_pause_that_grows() -> None:
    output = Lines()
    with supervisor(ProcessSpec("fails", "sh -c 'echo up; exit 3'"), output=output).running():
        eventually(lambda: len(output.of("fails")) >= 3)
    restarts = output.of("system")
    assert restarts[0] == "fails exited with 3; it starts again in 0.5 s"
    assert restarts[1] == "fails exited with 3; it starts again in 1 s"


def test_a_killed_process_takes_its_children_along_and_starts_again() -> None:
    output = Lines()
    with supervisor(ProcessSpec("worker", PARENT_WITH_CHILD), output=output).running() as running:
        (line,) = eventually(lambda: output.of("worker"))
        first, child = running.pids()["worker"], int(line.split()[1])
        os.kill(first, signal.SIGKILL)
        eventually(lambda: running.pids().get("worker", first) != first)
        eventually(lambda: not is_alive(child), what="the killed one's child ends too")


def test_stop_ends_children_and_those_that_ignore_sigterm() -> None:
    output = Lines()
    deaf = ProcessSpec("deaf", """sh -c 'trap "" TERM; echo deaf; sleep 300'""")
    with supervisor(
        deaf, ProcessSpec("worker", PARENT_WITH_CHILD), output=output, patience_s=0.5
    ).running() as running:
        eventually(lambda: output.of("worker") and output.of("deaf"))
        pids = [*running.pids().values(), int(output.of("worker")[0].split()[1])]
    assert not any(map(is_alive, pids))


SUPERVISE = """
import threading
from pathlib import Path
from app.runtime.supervisor import ProcessSpec, Supervisor
spec = ProcessSpec("worker", "sh -c 'sleep 300 & echo child $! of $$; wait'")
say = lambda *line: print(*line, flush=True)
Supervisor([spec], {"PATH": "/bin:/usr/bin"}, say, folder=Path("/")).run()
print("stopped", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_supervisor(number: signal.Signals, tmp_path: Path) -> None:
    with OsProcess([str(BIN / "python"), "-c", SUPERVISE], log=tmp_path / "log") as process:
        process.wait_for("child")
        _, child, _, parent = process.output.split("worker ")[1].split()[:4]
        process.send(number)
        process.wait()
        eventually(lambda: not is_alive(int(child)) and not is_alive(int(parent)), what="orphans end")
        assert ("stopped" in process.output) == (number is not signal.SIGKILL)


def test_the_procfile_names_every_process_and_a_missing_one_is_told(tmp_path: Path) -> None:
    names = ["api", "worker", "beat", "relay", "feed", "webhooks", "flower", "receiver"]
    assert [spec.name for spec in read_procfile()] == names
    with pytest.raises(RuntimeFailure, match="run from a checkout"):
        read_procfile(tmp_path / "Procfile")


def test_children_get_this_environments_programs_and_an_empty_metrics_folder(tmp_path: Path) -> None:
    old = tmp_path / "run" / "metrics" / "old.db"
    old.parent.mkdir(parents=True)
    old.touch()
    environ = child_environment({"PATH": "/bin"}, tmp_path)
    assert environ["PATH"].split(os.pathsep) == [str(BIN), "/bin"]
    assert list(Path(environ["PROMETHEUS_MULTIPROC_DIR"]).iterdir()) == []
