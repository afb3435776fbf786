"""The embedded servers of a checkout: one PostgreSQL with one Valkey, their state, their lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.runtime.identity import server_identity
from app.runtime.postgres import DATABASE, ROLES, PostgresServer, create_database, create_roles
from app.runtime.valkey import ValkeyServer
from app.settings.servers import SERVERS_FILE, wants_embedded
from app.settings.state import state_directory

CREDENTIALS_FILE = "credentials.json"
BOUNDS = ("max_slot_wal_keep_size=8GB",)
"""A receiver of the log that stays away costs a base backup, not the disk."""


class EmbeddedServers:
    """Both servers over one state directory; only one process at a time may run them."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.urls: dict[str, str] = {}
        self._lock: IO[str] | None = None
        self._guard: Guard | None = None
        self.postgres: PostgresServer | None = None
        self.valkey: ValkeyServer | None = None

    def start(self) -> None:
        """Start both servers on the data kept; raises `RuntimeFailure`, leaving nothing behind."""
        prepare_state(self.state)
        self._lock = take_lock(self.state)
        try:
            self._start_servers()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop both servers, keep their data, give the lock back."""
        (self.state / SERVERS_FILE).unlink(missing_ok=True)
        for server in (self.valkey, self.postgres):
            if server is not None:
                server.stop()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def mend(self) -> None:
        """Start a server again that has ended, on the same port: a crash costs seconds, not the platform."""
        for server in (self.postgres, self.valkey):
            if server is not None and not server.running:
                server.start()

    def _start_servers(self) -> None:
        identity = server_identity()
        log = self.state / "log"
        log.mkdir(mode=0o755, exist_ok=True)
        identity.own(log)
        passwords = _credentials(self.state)
        ports = _last_ports(self.state)
        self._guard = Guard()
        self.postgres = PostgresServer(self.state, self._guard, identity, passwords["postgres"], BOUNDS)
        self.postgres.start(ports.get("postgres"))
        self.valkey = ValkeyServer(self.state, self._guard, identity, passwords["valkey"])
        self.valkey.start(ports.get("valkey"))
        create_roles(self.postgres.url(), passwords)
        create_database(self.postgres.url())
        owner, app, system = (self.postgres.url(role, passwords[role], DATABASE) for role in ROLES)
        self.urls = {
            "DATABASE_URL": app,
            "DATABASE_OWNER_URL": owner,
            "DATABASE_SYSTEM_URL": system,
            "REDIS_URL": self.valkey.url,
            "QUANTUM_EMBEDDED": "1",
        }
        _write_private(self.state / SERVERS_FILE, {"urls": self.urls, "pid": os.getpid()})
        _write_private(
            self.state / "ports.json", {"postgres": self.postgres.port, "valkey": self.valkey.port}
        )


@contextlib.contextmanager
def servers_of(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield `environ` with the URLs of running servers: those it names, else embedded ones.

    Servers that another process of this checkout runs are used as they are; else they are started for a time.
    """
    if not wants_embedded(environ):
        yield dict(environ)
        return
    state = state_directory(environ)
    running = running_urls(state)
    if running:
        yield {**environ, **running}
        return
    servers = EmbeddedServers(state)
    servers.start()
    try:
        yield {**environ, **servers.urls}
    finally:
        servers.stop()


def running_urls(state: Path) -> dict[str, str]:
    """Return the URLs of the servers that another process runs over `state`, or nothing."""
    if not state.is_dir() or lock_holder(state) is None:
        return {}
    with contextlib.suppress(FileNotFoundError):  # it is just starting or stopping
        urls: dict[str, str] = json.loads((state / SERVERS_FILE).read_text())["urls"]
        return urls
    return {}


def prepare_state(state: Path) -> None:
    """Make the state directory: all may pass, as the servers' user must; only its owner may list it."""
    state.mkdir(mode=0o711, parents=True, exist_ok=True)
    state.chmod(0o711)


def side_environment(environ: Mapping[str, str], side: str) -> dict[str, str]:
    """Return `environ` with a state directory of its own inside the usual one, unless it names servers.

    So the demo or the benchmark neither needs nor touches what `quantum up` keeps.
    """
    if not wants_embedded(environ):
        return dict(environ)
    state = state_directory(environ)
    prepare_state(state)
    return {**environ, "QUANTUM_STATE_DIR": str(state / side)}


def take_lock(state: Path) -> IO[str]:
    """Return the held lock of the state directory; raises `RuntimeFailure` naming the process that has it."""
    handle = (state / "lock").open("a+")
    for attempt in range(5):  # `lock_holder` of another process may hold it for a moment
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.02 * attempt)
    else:
        handle.close()
        raise RuntimeFailure(f"the servers of {state} are already run by process {lock_holder(state)}")
    handle.truncate(0)
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def lock_holder(state: Path) -> int | None:
    """Return the process that runs the servers of `state`, or None."""
    with contextlib.suppress(FileNotFoundError), (state / "lock").open() as handle:  # never started here
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(handle.read() or 0)
    return None


def _credentials(state: Path) -> dict[str, str]:
    """Return the passwords of the servers and roles, made at the first start."""
    path = state / CREDENTIALS_FILE
    if not path.exists():
        _write_private(path, {name: secrets.token_urlsafe(24) for name in ("postgres", "valkey", *ROLES)})
    passwords: dict[str, str] = json.loads(path.read_text())
    return passwords


def _last_ports(state: Path) -> dict[str, int]:
    try:
        ports: dict[str, int] = json.loads((state / "ports.json").read_text())
    except FileNotFoundError:
        return {}
    return ports


def _write_private(path: Path, content: dict[str, Any]) -> None:
    """Replace `path` in one step; only its owner may read it."""
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(content, indent=1))
    draft.replace(path)
