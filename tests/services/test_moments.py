"""Back to a moment on the oldest server that is supported, with the programs that its package brought."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.db import backups
from app.db.engine import Database
from app.runtime.failure import RuntimeFailure
from app.runtime.point_in_time import recovered
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
