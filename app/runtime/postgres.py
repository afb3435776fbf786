"""An embedded PostgreSQL cluster: its data directory, its server, its roles."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from app.runtime.binaries import major_version, postgres_bin
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.runtime.identity import Identity
from app.runtime.ports import LOOPBACK, free_port
from app.runtime.processes import process_status
from app.runtime.server import ANSWER_WITHIN_S, EmbeddedServer, ServerProcess

SUPERUSER = "postgres"
ROLES = ("quantum_owner", "quantum_app", "quantum_system")
DATABASE = "quantum"
SETTLE_WITHIN_S = 10.0
"""How long what a crash left may take to end."""
NO_PROCESS = 99_999_999
"""Above every system's largest process id."""
TUNING = ("max_connections=200", "shared_buffers=128MB", "max_wal_size=2GB", "log_min_messages=warning")


class PostgresServer(EmbeddedServer):
    """A cluster under `state/pg`, served on a loopback port; no Unix socket, passwords by scram."""

    def __init__(
        self,
        state: Path,
        guard: Guard,
        identity: Identity,
        password: str,
        options: tuple[str, ...] = (),
        programs: Path | None = None,
    ) -> None:
        self.data = state / "pg"
        self.port = 0
        self._state = state
        self._identity = identity
        self._password = password
        self._options = TUNING + options
        self._programs = programs
        super().__init__(
            ServerProcess("PostgreSQL", state / "log" / "postgres.log", guard, identity, signal.SIGINT)
        )

    def url(self, user: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        """Return the libpq URL of a user; the superuser's when none is named."""
        return f"postgresql://{user}:{password or self._password}@{LOOPBACK}:{self.port}/{database}"

    def start(self, preferred_port: int | None = None) -> None:
        """Make the cluster when there is none, then serve it; raises `RuntimeFailure`."""
        programs = self._programs or postgres_bin(self._state, self._identity)
        if not (self.data / "PG_VERSION").is_file():
            self._initialise(programs)
        self._settle_dead_postmaster()
        self.port = free_port(preferred_port or self.port or None)
        command = [str(programs / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for option in (f"listen_addresses={LOOPBACK}", "unix_socket_directories=", *self._options):
            command += ["-c", option]
        until = time.monotonic() + SETTLE_WITHIN_S
        while True:
            try:
                return self._process.start(command, self._answers)
            except RuntimeFailure as failure:
                # Backends of a killed postmaster end by themselves, once they notice.
                if "shared memory" not in str(failure) or time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg2.OperationalError):  # not up yet: asked again
            psycopg2.connect(self.url(), connect_timeout=ANSWER_WITHIN_S).close()
            return True
        return False

    def _initialise(self, programs: Path) -> None:
        """Make the cluster in a draft folder, so that an initdb cut short is never taken for a cluster."""
        draft = self._state / f"pg-draft-{os.getpid()}"
        draft.mkdir(mode=0o700)
        self._identity.own(draft)
        password_file = self._state / f"pg-password-{os.getpid()}"
        password_file.touch(mode=0o600)
        try:
            password_file.write_text(self._password)
            self._identity.own(password_file)
            done = subprocess.run(  # noqa: S603 - a program of our wheel with our arguments
                [
                    *(str(programs / "initdb"), "-D", str(draft), "-U", SUPERUSER, "-E", "UTF8"),
                    *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions"),
                    *_locale(programs),
                ],
                capture_output=True,
                text=True,
                check=False,
                cwd=self._state,
                **self._identity.popen(),
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            raise RuntimeFailure(f"initdb failed: {done.stderr.strip()}")
        draft.rename(self.data)

    def _settle_dead_postmaster(self) -> None:
        """Deal with the pid file that a postmaster killed with -9 left.

        We hold the lock of the state directory, so no other supervisor owns a live postmaster here: one that
        outlived its supervisor is stopped. A number that a stranger has by now is struck out, or PostgreSQL
        would wait for him. The rest stays, for its check that no old backend is attached.
        """
        pid_file = self.data / "postmaster.pid"
        try:
            pid, rest = pid_file.read_text().split("\n", 1)
        except (FileNotFoundError, ValueError):
            return  # an orderly stop removed it, or it was cut short at birth
        if self._is_postmaster(int(pid)):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(int(pid), signal.SIGINT)
        until = time.monotonic() + SETTLE_WITHIN_S
        while self._is_postmaster(int(pid)) and time.monotonic() < until:
            time.sleep(0.05)
        if self._is_postmaster(int(pid)):
            raise RuntimeFailure(f"PostgreSQL (process {pid}) still uses {self.data}; end it first")
        if pid_file.exists() and process_status(int(pid)) != ("", ""):
            pid_file.write_text(f"{NO_PROCESS}\n{rest}")

    def _is_postmaster(self, pid: int) -> bool:
        """Tell whether `pid` is our live postmaster: not a zombie, nor a stranger with a reused number."""
        state, command = process_status(pid)
        return state not in ("", "Z") and "postgres" in command and str(self.data) in command


def _locale(programs: Path) -> tuple[str, ...]:
    """Return options that sort alike on every host; the builtin provider came with version 17."""
    builtin = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    return (*builtin, "--locale=C") if major_version(programs) >= 17 else ("--locale=C",)  # noqa: PLR2004 - see above


def _connected(url: str) -> psycopg2.extensions.connection:
    try:
        return psycopg2.connect(url)
    except psycopg2.OperationalError as fault:
        words = str(fault).strip().partition("\n")[0]
        raise RuntimeFailure(f"the database does not answer: {words}") from fault


def create_roles(admin_url: str, passwords: dict[str, str]) -> None:
    """Create the three roles, or give them these passwords when they are there; needs CREATEROLE.

    Raises RuntimeFailure when the server cannot be reached by that URL.
    """
    with (
        contextlib.closing(_connected(admin_url)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('quantum roles'))")
        for role in ROLES:
            cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
            verb = sql.SQL("ALTER" if cursor.fetchone() else "CREATE")
            cursor.execute(
                sql.SQL("{} ROLE {} LOGIN NOCREATEDB NOCREATEROLE PASSWORD {}").format(
                    verb, sql.Identifier(role), sql.Literal(passwords[role])
                )
            )


def create_database(admin_url: str, name: str = DATABASE, template: str = "template1") -> bool:
    """Create the database `name` for the three roles, owned by the first; return False when it is there."""
    with contextlib.closing(_connected(admin_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True  # CREATE DATABASE runs in no transaction
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if cursor.fetchone():
            return False
        owner, app, system = map(sql.Identifier, ROLES)
        cursor.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(owner))
        cursor.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), owner, sql.Identifier(template)
            )
        )
        cursor.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        cursor.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}, {}").format(
                sql.Identifier(name), owner, app, system
            )
        )
    return True
