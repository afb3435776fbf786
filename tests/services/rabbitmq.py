"""A RabbitMQ server of the machine's own packages, run as a process of the test session."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from app.runtime.ports import LOOPBACK, free_port
from app.settings import inherited_environment
from tests.support.processes import OsProcess
from tests.support.waiting import eventually

READY = "Server startup complete"
# Debian's wrapper in /usr/sbin changes the user; the script behind it runs as whoever tests.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


@contextlib.contextmanager
def rabbitmq_server() -> Iterator[str]:
    """Yield the amqp URL of a fresh broker; ended with its Erlang port mapper, its files removed."""
    with rabbitmq_node() as node:
        yield node.url


class RabbitNode:
    """A broker that can be killed with -9, then started over its files."""

    def __init__(self, url: str, process: OsProcess) -> None:
        self.url = url
        self._process = process

    def kill(self) -> None:
        """Kill the whole group."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send the whole group a signal, as to stop it in its tracks."""
        os.killpg(self._process.pid, number)

    def start(self) -> None:
        """Start it anew; returns when it serves."""
        before = self._process.output.count(READY)
        self._process.start()
        eventually(lambda: self._process.output.count(READY) > before, within=60, what=READY)


@contextlib.contextmanager
def rabbitmq_node() -> Iterator[RabbitNode]:
    """Yield a fresh broker, to be killed or started as the test likes."""
    folder = Path(tempfile.mkdtemp(prefix="quantum-rabbitmq-"))
    port, mapper = free_port(), free_port()
    (folder / "plugins").write_text("[].\n")
    environ = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"quantum{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": LOOPBACK,
    }
    try:
        with OsProcess([str(SERVER)], log=folder / "output", environ=environ) as server:
            server.wait_for(READY, within=60)
            yield RabbitNode(f"amqp://guest:guest@{LOOPBACK}:{port}//", server)
    finally:
        subprocess.run(
            ["epmd", "-port", str(mapper), "-kill"],
            env={**inherited_environment(), **environ},
            capture_output=True,
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)
