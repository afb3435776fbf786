"""`quantum up` as a whole: comes up from nothing, mends its servers, leaves nothing when it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.runtime.ports import free_port
from app.settings import inherited_environment
from tests.support.processes import BIN, OsProcess, is_alive
from tests.support.waiting import eventually


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """A state directory of this test alone; no server is named."""
    state = Path(tempfile.mkdtemp(prefix="quantum-up-"))
    yield {
        "QUANTUM_STATE_DIR": str(state),
        "API_PORT": str(free_port()),
        "FEED_PORT": str(free_port()),
        "FLOWER_PORT": str(free_port()),
        "LOG_LEVEL": "WARNING",
    }
    shutil.rmtree(state)


def ready(environ: dict[str, str]) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{environ['API_PORT']}/readyz", timeout=2):
            return True
    except (OSError, urllib.error.HTTPError):
        return False


def descendants(pid: int) -> set[int]:
    """Return every process below `pid`: the groups, the servers, the guards."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(line.split()[0]): int(line.split()[1]) for line in table.splitlines()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def test_up_from_nothing_mends_its_servers_then_leaves_nothing(
    environ: dict[str, str], tmp_path: Path
) -> None:
    with OsProcess([str(BIN / "quantum"), "up"], log=tmp_path / "up.log", environ=environ) as up:
        eventually(lambda: ready(environ) or up.exit_code is not None, within=60, what=up.output)
        assert up.exit_code is None, up.output

        second = subprocess.run(
            [str(BIN / "quantum"), "up"],
            env={**inherited_environment(), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode != 0
        assert "already up" in second.stderr

        postmaster = int(
            (Path(environ["QUANTUM_STATE_DIR"]) / "pg" / "postmaster.pid").read_text().split()[0]
        )
        os.kill(postmaster, signal.SIGKILL)
        eventually(lambda: not ready(environ), within=20, what="the API notices")
        eventually(lambda: ready(environ), within=40, what="PostgreSQL is started again")

        below = descendants(up.pid)
        assert len(below) > 8
        up.kill()
        eventually(lambda: not any(map(is_alive, below)), within=30, what="nothing outlives the supervisor")

    with OsProcess([str(BIN / "quantum"), "up"], log=tmp_path / "again.log", environ=environ) as up:
        eventually(lambda: ready(environ), within=60, what="it comes up again after kill -9")
        below = descendants(up.pid)
        up.send(signal.SIGTERM)
        assert up.wait() == 0
        assert "stopped" in up.output
        assert not any(map(is_alive, below))
