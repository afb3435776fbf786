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
from checks.metrics import declared
from tests.support.prepared import PreparedPrograms
from tests.support.processes import BIN, OsProcess, is_alive
from tests.support.shell import PASSWORD, Quantum
from tests.support.waiting import eventually

PROCESSES = {"api", "worker", "beat", "relay", "feed", "webhooks", "receiver"}
LABELLED = sorted(PROCESSES)
EVERYBODY = {*PROCESSES, "flower"} - {"receiver"}
"""Who works on the schema."""
OCCASIONAL = {
    "quantum_backup_age_seconds",
    "quantum_breaker_openings_total",
    "quantum_breakers_open",
    "quantum_dead_events",
    "quantum_feed_streams_ended_total",
    "quantum_flag_decisions_total",
    "quantum_queue_demand_slots",
    "quantum_queue_oldest_seconds",
    "quantum_queue_slots_busy",
    "quantum_queue_steps",
    "quantum_recoveries_total",
    "quantum_replica_reads_total",
    "quantum_relay_events_dead_total",
    "quantum_relay_failures_total",
    "quantum_runs_finished_total",
    "quantum_step_seconds",
    "quantum_steps_finished_total",
    "quantum_trace_spans_total",
    "quantum_triggers_fired_total",
    "quantum_webhook_attempts_total",
}
"""What nothing has happened of in a platform that has just come up."""


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
        "BACKUP_LOG": "1",
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


def scraped(port: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def sees_and_is_heard(environ: dict[str, str], up: OsProcess, prepared: PreparedPrograms) -> None:
    """Check that every process tells its figures, obeys what is said of its log, is seen by migrations."""
    token = Path(environ["QUANTUM_STATE_DIR"]) / "t.json"
    quantum = Quantum({**inherited_environment(), **environ}, token, prepared)
    root = ("--email", "root@platform.example", "--password-stdin")
    quantum("tenant", "create", "--first", *root, typed=PASSWORD)
    quantum("login", "--tenant", "platform", *root, typed=PASSWORD)
    said = quantum.json("logs", "set", "app.feed", "debug", "--for", "PT1H")
    assert (said["level"], said["in_force"]) == ("DEBUG", True)

    def deaf() -> set[str]:
        heard = [line for line in up.output.splitlines() if "log_levels_changed" in line]
        return PROCESSES - {line.partition("│")[0].strip() for line in heard}

    def attending() -> set[str]:
        return {process["kind"] for process in quantum.json("migrate", "--plan")["processes"]}

    eventually(lambda: not deaf(), within=20, what="every process obeys")
    eventually(lambda: attending() == EVERYBODY, within=20, what="a migration sees every process")
    assert quantum.json("logs", "reset") == []
    for process in LABELLED:
        pattern = f'quantum_processes{{process="{process}"}}'
        eventually(lambda pattern=pattern: pattern in scraped(environ["API_PORT"]), within=20, what=process)
    text = scraped(environ["API_PORT"])
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# HELP ")}
    missing = {name for name in declared() if name.removesuffix("_total") not in named and name not in named}
    assert missing <= OCCASIONAL, "each metric is there without an occasion, or has its test with one"


def test_up_from_nothing_mends_its_servers_then_leaves_nothing(
    environ: dict[str, str], tmp_path: Path, prepared_command: PreparedPrograms
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

        sees_and_is_heard(environ, up, prepared_command)

        postmaster = int(
            (Path(environ["QUANTUM_STATE_DIR"]) / "pg" / "postmaster.pid").read_text().split()[0]
        )
        os.kill(postmaster, signal.SIGKILL)
        eventually(lambda: not ready(environ), within=20, what="the API notices")
        eventually(lambda: ready(environ), within=40, what="PostgreSQL is started again")
        read = 'quantum_wal_slots{state="read"} 1.0'
        eventually(lambda: read in scraped(environ["API_PORT"]), within=30, what="its log is received")

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
