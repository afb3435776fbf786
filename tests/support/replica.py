"""A primary with a real streaming replica, both on loopback, for one test module alone."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2

from app.db.migrate import migrate
from app.runtime.binaries import postgres_bin
from app.runtime.guard import Guard
from app.runtime.identity import server_identity
from app.runtime.postgres import DATABASE, ROLES, PostgresServer, create_database, create_roles
from app.settings import inherited_environment
from tests.support.servers import FAST, PASSWORD, PROGRAMS_VARIABLE, Cluster, DatabaseUrls, state_folder
from tests.support.waiting import eventually

CALM = (*FAST, "autovacuum=off")
"""No vacuum whose replay waits for a read, or ends it."""


@dataclass(frozen=True, slots=True)
class Replicated:
    """Both servers; the replica may be paused, killed, started again."""

    primary: PostgresServer
    standby: PostgresServer

    @property
    def urls(self) -> DatabaseUrls:
        """The primary's database."""
        return DatabaseUrls.of(Cluster(self.primary.port), DATABASE)

    @property
    def replica_url(self) -> str:
        """The replica's database as the app role."""
        return DatabaseUrls.of(Cluster(self.standby.port), DATABASE).app

    def ask(self, statement: str) -> object:
        """Return the one value of a statement that the replica's superuser sends."""
        url = DatabaseUrls.of(Cluster(self.standby.port), DATABASE).admin
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return row[0] if row else None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Hold the replay within the block: the replica shows no later commit."""
        self.ask("SELECT pg_wal_replay_pause()")
        eventually(lambda: self.ask("SELECT pg_get_wal_replay_pause_state()") == "paused", every=0.01)
        try:
            yield
        finally:
            self.ask("SELECT pg_wal_replay_resume()")


@contextlib.contextmanager
def replicated_servers() -> Iterator[Replicated]:
    """Yield a primary with a migrated database and the replica that follows it."""
    guard, identity = Guard(), server_identity()
    named = inherited_environment().get(PROGRAMS_VARIABLE)
    with state_folder() as first, state_folder() as second, contextlib.closing(guard):
        programs = Path(named) if named else postgres_bin(first, identity)
        primary = PostgresServer(first, guard, identity, PASSWORD, CALM, programs)
        standby = PostgresServer(second, guard, identity, PASSWORD, CALM, programs)
        try:
            primary.start()
            create_roles(primary.url(), dict.fromkeys(ROLES, PASSWORD))
            create_database(primary.url())
            servers = Replicated(primary, standby)
            migrate(servers.urls.owner)
            standby.data.mkdir(mode=0o700)
            identity.own(standby.data)
            subprocess.run(
                [
                    *(str(programs / "pg_basebackup"), "-d", primary.url(), "-D", str(standby.data)),
                    *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
                ],
                check=True,
                capture_output=True,
                cwd=second,
                **identity.popen(),
            )
            standby.start()
            yield servers
        finally:
            standby.stop()
            primary.stop()
