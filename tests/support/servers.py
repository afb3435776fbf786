"""Real servers for tests: one PostgreSQL a session, one Valkey a test process, private ones to kill."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import psycopg2
import redis
from psycopg2 import sql

from app.runtime.guard import Guard
from app.runtime.identity import server_identity
from app.runtime.ports import LOOPBACK
from app.runtime.postgres import DATABASE, ROLES, PostgresServer, create_database, create_roles
from app.runtime.valkey import ValkeyServer
from app.settings import inherited_environment

PASSWORD = "only-for-tests"
CLUSTER_VARIABLE = "TEST_CLUSTER"
"""A running cluster to use instead of a new one, as JSON: the mutant runner keeps one up for all its runs."""
PROGRAMS_VARIABLE = "TEST_POSTGRES_BIN"
"""A folder with another PostgreSQL's programs, to run a suite against that version."""
FAST = ("fsync=off", "full_page_writes=off", "autovacuum_naptime=5s")
"""A test cluster need not survive a power cut; it still survives kill -9."""
QUICK_LOGINS = ("scram_iterations=1",)
"""Since PostgreSQL 16; passwords that are no secret need not be slow to try."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a PostgreSQL cluster answers; its roles all have the same password."""

    port: int

    def url(self, user: str = "postgres", database: str = "postgres") -> str:
        return f"postgresql://{user}:{PASSWORD}@{LOOPBACK}:{self.port}/{database}"

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Cluster:
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class DatabaseUrls:
    """One database as each role sees it."""

    owner: str
    app: str
    system: str
    admin: str
    """The superuser: only to arrange what no role may, never to assert anything."""

    @classmethod
    def of(cls, cluster: Cluster, database: str) -> DatabaseUrls:
        owner, app, system = (cluster.url(role, database) for role in ROLES)
        return cls(owner=owner, app=app, system=system, admin=cluster.url(database=database))

    def environment(self) -> dict[str, str]:
        """Return the variables that point a process to this database."""
        return {
            "DATABASE_URL": self.app,
            "DATABASE_OWNER_URL": self.owner,
            "DATABASE_SYSTEM_URL": self.system,
        }


def surroundings(state: Path, database: DatabaseUrls, redis_url: str, **more: str) -> dict[str, str]:
    """Return the variables of a process under test: its state directory, its servers, what else is asked."""
    return {
        "ENVIRONMENT": "test",
        "QUANTUM_STATE_DIR": str(state),
        **database.environment(),
        "REDIS_URL": redis_url,
        "LOG_LEVEL": "WARNING",
        **more,
    }


def drop_database(admin_url: str, name: str) -> None:
    """Drop a database, whoever is still connected."""
    with contextlib.closing(psycopg2.connect(admin_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True  # DROP DATABASE runs in no transaction
        cursor.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def state_folder() -> Iterator[Path]:
    """Yield a new state directory that the servers' user can enter; removed afterwards."""
    state = Path(tempfile.mkdtemp(prefix="quantum-test-"))
    state.chmod(0o711)
    log = state / "log"
    log.mkdir()
    server_identity().own(log)
    try:
        yield state
    finally:
        shutil.rmtree(state, ignore_errors=True)


@contextlib.contextmanager
def postgres_cluster() -> Iterator[Cluster]:
    """Yield a running cluster with the three roles."""
    programs = inherited_environment().get(PROGRAMS_VARIABLE)
    guard = Guard()
    with state_folder() as state, contextlib.closing(guard):
        options = FAST if programs else FAST + QUICK_LOGINS
        server = PostgresServer(
            state, guard, server_identity(), PASSWORD, options, Path(programs) if programs else None
        )
        server.start()
        try:
            create_roles(server.url(), dict.fromkeys(ROLES, PASSWORD))
            yield Cluster(server.port)
        finally:
            server.stop()


@contextlib.contextmanager
def valkey_server(*, persist: bool = False) -> Iterator[ValkeyServer]:
    """Yield a running Valkey; `persist` keeps its data over `kill()` with `start()`."""
    guard = Guard()
    with state_folder() as state, contextlib.closing(guard):
        server = ValkeyServer(state, guard, server_identity(), PASSWORD, persist)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@dataclass(frozen=True, slots=True)
class PrivateServers:
    """Servers of one test process alone, to be killed, restarted, stopped as it likes."""

    postgres: PostgresServer
    valkey: ValkeyServer
    name: str = DATABASE
    """The database, migrated."""

    @property
    def database(self) -> DatabaseUrls:
        return DatabaseUrls.of(Cluster(self.postgres.port), self.name)

    @contextlib.contextmanager
    def emptied(self) -> Iterator[PrivateServers]:
        """Yield these servers, running, with an empty Valkey, with a clone of the database, then dropped."""
        for server in (self.postgres, self.valkey):
            if not server.running:
                server.start()
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()
        name = f"test_{uuid4().hex}"
        create_database(self.postgres.url(), name, DATABASE)
        yield replace(self, name=name)
        if self.postgres.running:
            drop_database(self.postgres.url(), name)

    def surroundings(self, state: Path, **more: str) -> dict[str, str]:
        """Return the variables of a process under test on these servers."""
        return surroundings(state, self.database, self.valkey.url, **more)


@contextlib.contextmanager
def private_servers(options: tuple[str, ...] = (), programs: Path | None = None) -> Iterator[PrivateServers]:
    """Yield durable servers with a migrated database; `start()` after `kill()` keeps the port.

    `programs` names the folder of another PostgreSQL than ours.
    """
    from app.db.migrate import migrate  # noqa: PLC0415 - tests of the servers alone need no migration

    guard = Guard()
    with state_folder() as state, contextlib.closing(guard):
        identity = server_identity()
        servers = PrivateServers(
            PostgresServer(state, guard, identity, PASSWORD, options, programs),
            ValkeyServer(state, guard, identity, PASSWORD),
        )
        try:
            servers.postgres.start()
            servers.valkey.start()
            create_roles(servers.postgres.url(), dict.fromkeys(ROLES, PASSWORD))
            create_database(servers.postgres.url())
            migrate(servers.database.owner)
            yield servers
        finally:
            servers.valkey.stop()
            servers.postgres.stop()
