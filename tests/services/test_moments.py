"""Back to a moment on the oldest server that is supported, with the programs that its package brought."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from app.db import backups
from app.db.engine import Database
from app.runtime import backup_files as files
from app.runtime.backup_store import FolderStore
from app.runtime.binaries import postgres_bin
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.runtime.point_in_time import create_base, recovered
from app.runtime.stages import Stages
from tests.services.__main__ import POSTGRES_15
from tests.support.moments import RING, Drill
from tests.support.prepared import PreparedPrograms
from tests.support.servers import PrivateServers, private_servers
from tests.support.shell import Quantum

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def servers() -> Iterator[PrivateServers]:
    """Servers of this module alone, the PostgreSQL among them the oldest that is supported."""
    with private_servers(programs=POSTGRES_15) as servers:
        yield servers


def test_what_the_log_wants_is_made_and_proved(
    servers: PrivateServers, tmp_path: Path, prepared_command: PreparedPrograms
) -> None:
    admin, folder = servers.database.admin, str(tmp_path / "backups")
    environ = servers.surroundings(tmp_path / "state", DATABASE_ADMIN_URL=admin, BACKUP_FOLDER=folder)
    quantum = Quantum(environ, tmp_path / "token.json", prepared_command)
    system = Database(servers.database.system, "system")
    backups.log_begins(system, datetime.now(UTC).replace(microsecond=0), anew=True)
    assert quantum("backup", "run").stdout.count("is made and verified") == 2
    assert quantum("backup", "run", "--if-due").stdout == "a backup was made already\n"
    noted = "SELECT kind, verified_at IS NOT NULL, error FROM backups WHERE kind <> 'log' ORDER BY kind"
    assert system.call(noted) == [("base", True, None), ("dump", True, None)]
    (base,) = [line.split()[0] for line in quantum("backup", "list").stdout.splitlines() if " from " in line]
    assert "recovers" in quantum("backup", "verify", base).stdout
    system.dispose()


class Busy(FolderStore):
    """A store that is slow: while it takes a backup, the server writes a lot and recycles its old log."""

    def __init__(self, folder: Path, admin_url: str) -> None:
        super().__init__(folder)
        self._admin_url = admin_url

    def write(self, name: str, pieces: Iterable[bytes]) -> None:
        """Keep the pieces; after the first one the log goes on for some segments."""
        super().write(name, self._interrupted(pieces))

    def _interrupted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for number, piece in enumerate(pieces):
            yield piece
            if number == 0:
                with contextlib.closing(psycopg2.connect(self._admin_url)) as connection:
                    connection.autocommit = True
                    with connection.cursor() as cursor:
                        for _ in range(4):
                            cursor.execute(
                                "SELECT pg_logical_emit_message(false, 'busy', 'x'), pg_switch_wal()"
                            )
                            cursor.execute("CHECKPOINT")


def test_a_base_backup_has_its_log_however_much_the_server_writes_meanwhile(
    servers: PrivateServers, tmp_path: Path
) -> None:
    admin, store = servers.database.admin, Busy(tmp_path, servers.database.admin)
    programs = postgres_bin(tmp_path / "bin", server_identity())
    made = create_base(programs, admin, store, RING, datetime.now(UTC))
    assert [each.name for each in files.backups(store, RING)] == [made.name]
    system = Database(servers.database.system, "system")
    assert system.call("SELECT slot_name FROM pg_replication_slots") == [], "nothing is held any longer"
    system.dispose()


def test_a_server_older_than_our_programs_comes_back_as_it_stood_at_a_moment(
    servers: PrivateServers, tmp_path: Path
) -> None:
    drill = Drill(servers, tmp_path, Stages())
    base, moment, rows = drill.play(runs=3000)
    assert base.server_version // 10_000 == 15
    assert rows > 20_000
    given = (drill.programs, drill.urls.admin, drill.store, base, RING)
    late = recovered(*given, moment + timedelta(days=1), drill.spool)
    with pytest.raises(RuntimeFailure, match="does not reach"), late:
        pass
