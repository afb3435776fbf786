"""The platform's processes, each twice where two may run, kept up as a supervisor would."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests

from app.runtime.guard import end_groups
from app.runtime.ports import LOOPBACK, free_port
from tests.support.database import ROOT
from tests.support.processes import OsProcess
from tests.support.rig import BEAT, TESTKIT, WORKER, Rig
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually

CHILDREN = 4
WORKERS = ("worker1", "worker2")
BEATS = ("beat1", "beat2")
RELAYS = ("relay1", "relay2")
RESTART_S = 0.5
LOOK_S = 0.05
SHIFT = struct.Struct("d")
API = ("granian", "--interface", "wsgi", "--host", LOOPBACK, "--workers", "1", "--blocking-threads", "8")


@dataclass
class Fleet:
    """Every process of the platform over private servers; what ends is started again after `RESTART_S`."""

    servers: PrivateServers
    folder: Path
    stack: ExitStack
    broker_url: str | None = None
    """The broker, when it is not Valkey."""
    processes: dict[str, OsProcess] = field(default_factory=dict)
    ended: set[int] = field(default_factory=set)
    """Processes of ours that ended, whoever ended them."""
    restarts: int = 0
    _due: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.clock = self.folder / "clock"
        self.clock.write_bytes(SHIFT.pack(0.0))
        self.disk = self.folder / "disk"
        self.fill_disk(full=False)
        self.port = free_port()
        self.environ = {
            **self.servers.surroundings(self.folder),
            "QUANTUM_DATA_ROOTS": str(self.folder),
            "QUANTUM_MODULES": TESTKIT,
            "CHAOS_CLOCK": str(self.clock),
            "CHAOS_DISK": str(self.disk),
            "PYTHONPATH": f"{ROOT / 'tests/chaos/clock'}{os.pathsep}{ROOT}",
            "WORKER_CONCURRENCY": str(CHILDREN),
            "API_RATE_PER_MINUTE": "100000000",
            "ADMISSION_PER_SLOT": "16",  # so that fifty steps can be under way
            **({"BROKER_URL": self.broker_url} if self.broker_url else {}),
        }
        self.rig = Rig(self.environ, self.folder, self.stack)

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def launch(self) -> None:
        """Start everything, wait until it works."""
        self._keep(
            "api",
            (*API, "--port", str(self.port), "--no-ws", "--log-level", "warning", "app.wsgi:application"),
        )
        for name in WORKERS:
            self._keep(name, (*WORKER, "-n", f"{name}@%h"))
        for name in BEATS:
            self._keep(name, (*BEAT, "--pidfile=", "-s", str(self.folder / f"{name}.db")))
        for name in RELAYS:
            self._keep(name, ("quantum", "relay"))
        threading.Thread(target=self._look, name="keeper", daemon=True).start()
        self.stack.callback(self._stop.set)
        eventually(self.api_answers, within=60, what="the API answers")
        for name in WORKERS:
            self.rig.beats(self.processes[name], children=CHILDREN)

    def api_answers(self) -> bool:
        """Tell whether the API is there."""
        with suppress(requests.RequestException):  # not up: asked again
            return requests.get(f"{self.api_url}/healthz", timeout=2).status_code == 200
        return False

    def kill(self, name: str) -> int:
        """Kill a process with its children, as a machine that loses power; return its pid."""
        pid = self.processes[name].pid
        with suppress(ProcessLookupError):  # it ended a moment ago
            os.killpg(pid, signal.SIGKILL)
        return pid

    def shift_clock(self, seconds: float) -> None:
        """Let the clock of every process jump."""
        with self.clock.open("r+b") as handle:
            handle.write(SHIFT.pack(seconds))

    def fill_disk(self, *, full: bool) -> None:
        """Let no file of any process reach the disk any more, or again."""
        with self.disk.open("r+b" if self.disk.exists() else "wb") as handle:
            handle.write(bytes([full]))

    def _keep(self, name: str, command: Sequence[str], **environ: str) -> None:
        self.processes[name] = self.rig.start(name, command, tree=None, **environ)

    def _look(self) -> None:
        while not self._stop.wait(LOOK_S):
            for name, process in self.processes.items():
                if process.exit_code is None:
                    continue
                if name not in self._due:
                    self.ended.add(process.pid)
                    end_groups({process.pid: signal.SIGKILL}, 0.0)
                    self._due[name] = time.monotonic() + RESTART_S
                elif time.monotonic() >= self._due[name] and not self._stop.is_set():
                    del self._due[name]
                    self.restarts += 1
                    process.start()


@contextmanager
def launched(servers: PrivateServers, folder: Path, broker_url: str | None = None) -> Iterator[Fleet]:
    """Yield the running platform; ends every process."""
    with ExitStack() as stack:
        fleet = Fleet(servers, folder, stack, broker_url)
        fleet.launch()
        yield fleet
