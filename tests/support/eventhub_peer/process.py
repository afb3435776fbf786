"""The peer as a child process of a test: started, told to do wrong, killed with -9."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.runtime.ports import LOOPBACK, free_port
from tests.support.database import ROOT
from tests.support.eventhub_peer.hub import bodies
from tests.support.eventhub_peer.service import KEY, POLICY
from tests.support.processes import session_guard

HUB = "quantum-events"


class HubPeer:
    """One namespace with one hub; `url` is its connection string."""

    def __init__(self, folder: Path, partitions: int = 1) -> None:
        self._partitions = partitions
        self._folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        keys = f"SharedAccessKeyName={POLICY};SharedAccessKey={KEY}"
        return f"Endpoint=sb://{LOOPBACK}:{self.port};{keys};UseDevelopmentEmulator=true"

    def start(self) -> None:
        """Start it, or start it anew over its file; returns when it serves."""
        given = (str(self.port), str(self._folder), str(self._partitions))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.eventhub_peer", *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        session_guard().watch(self._process.pid)
        assert self._line() == "serving"

    def tell(self, order: str) -> None:
        """Order a fault; returns when it is in force."""
        assert self._process is not None, "not started"
        assert self._process.stdin is not None, "its input is a pipe"
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()
        assert self._line() == f"obeyed {order}"

    def kill(self) -> None:
        """Kill it with -9."""
        assert self._process is not None, "not started"
        self._process.kill()
        self._process.communicate()
        session_guard().forget(self._process.pid)

    def arrived(self) -> list[dict[str, Any]]:
        """Return every envelope in the hub, those of one partition in order."""
        return [json.loads(body) for body in bodies(self._folder / f"{HUB}.log")]

    def _line(self) -> str:
        assert self._process is not None, "not started"
        assert self._process.stdout is not None, "its output is a pipe"
        return self._process.stdout.readline().strip()
