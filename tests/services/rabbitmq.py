"""A RabbitMQ server of the machine's own packages, run as a process of the test session."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.runtime.ports import LOOPBACK, free_port
from app.settings import inherited_environment
from tests.support.processes import OsProcess
from tests.support.waiting import eventually

READY = "Server startup complete"
# Debian's wrapper in /usr/sbin changes the user; the script behind it runs as whoever tests.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CONTROL = SERVER.with_name("rabbitmqctl")
USER = "guest"
HOSTS = 80
"""So many virtual hosts has the broker of a test session: each is an empty broker for whoever takes it."""


class RabbitNode:
    """A broker that can be killed with -9, then started over its files."""

    def __init__(self, url: str, process: OsProcess, environ: dict[str, str]) -> None:
        self.url = url
        self._process = process
        self._environ = environ

    def control(self, *words: str) -> None:
        """Have rabbitmqctl do something; raises CalledProcessError."""
        subprocess.run(
            [str(CONTROL), *words],
            env={**inherited_environment(), **self._environ},
            capture_output=True,
            check=True,
        )

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


@dataclass(frozen=True)
class RabbitHosts:
    """The virtual hosts of a running broker that are this test process's to use, each for one taker."""

    url: str
    numbers: Iterator[int]

    @classmethod
    def of(cls, url: str, number: int = 0, processes: int = 1) -> RabbitHosts:
        """Return the share of one of so many test processes."""
        return cls(url, iter(range(number, HOSTS, processes)))

    def take(self) -> str:
        """Return the URL of one that nobody has used; raises StopIteration when none is left."""
        return f"{self.url.rstrip('/')}/{_host(next(self.numbers))}"


def _host(number: int) -> str:
    return f"host{number}"


def definitions(hosts: int) -> str:
    """Return what a broker is born with: its user, with `/` and so many more virtual hosts."""
    salt = os.urandom(4)
    hashed = base64.b64encode(salt + hashlib.sha256(salt + USER.encode()).digest()).decode()
    names = ["/", *map(_host, range(hosts))]
    rights = {"user": USER, "configure": ".*", "write": ".*", "read": ".*"}
    user = {"name": USER, "password_hash": hashed, "tags": ["administrator"]}
    return json.dumps(
        {
            "users": [{**user, "hashing_algorithm": "rabbit_password_hashing_sha256"}],
            "vhosts": [{"name": name} for name in names],
            "permissions": [{**rights, "vhost": name} for name in names],
        }
    )


@contextlib.contextmanager
def rabbitmq_node(*, hosts: int = 0, options: str = "") -> Iterator[RabbitNode]:
    """Yield a fresh broker, to be killed or started as the test likes; `options` go to Erlang."""
    folder = Path(tempfile.mkdtemp(prefix="quantum-rabbitmq-"))
    port, mapper = free_port(), free_port()
    (folder / "plugins").write_text("[].\n")
    (folder / "definitions.json").write_text(definitions(hosts))
    (folder / "rabbitmq.conf").write_text(f"load_definitions = {folder}/definitions.json\n")
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
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": options,
        "ERL_CRASH_DUMP": str(folder / "crash"),
        "ERL_EPMD_PORT": str(mapper),
        "ERL_EPMD_ADDRESS": LOOPBACK,
    }
    try:
        with OsProcess([str(SERVER)], log=folder / "output", environ=environ) as server:
            server.wait_for(READY, within=60)
            yield RabbitNode(f"amqp://{USER}:{USER}@{LOOPBACK}:{port}//", server, environ)
    finally:
        subprocess.run(
            ["epmd", "-port", str(mapper), "-kill"],
            env={**inherited_environment(), **environ},
            capture_output=True,
            check=False,
        )
        shutil.rmtree(folder, ignore_errors=True)
