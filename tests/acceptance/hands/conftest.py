"""A whole platform with two workers, its administrator at the shell."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.runtime.ports import free_port
from app.runtime.supervisor import wait_until_healthy
from tests.support.blob_peer import blob_peer
from tests.support.prepared import PreparedPrograms
from tests.support.rig import Rig, rig_on
from tests.support.servers import DatabaseUrls
from tests.support.shell import PASSWORD, Quantum

API = ("granian", "--interface", "wsgi", "--blocking-threads", "4", "--no-ws", "--log-level", "warning")


@pytest.fixture(scope="module")
def rig(
    environ: dict[str, str], database_urls: DatabaseUrls, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    """An API, a beat that has backups made in a container, two workers of two processes on `default`."""
    port = str(free_port())
    with (
        blob_peer() as peer,
        rig_on(
            {
                **environ,
                "API_PORT": port,
                "DATABASE_ADMIN_URL": database_urls.admin,
                "BACKUP_CONTAINER": "backups",
                "BACKUP_STORAGE_CONNECTION_STRING": peer.connection_string,
            },
            tmp_path_factory.mktemp("rig"),
        ) as rig,
    ):
        rig.start("api", (*API, "--port", port, "app.wsgi:application"))
        rig.beat()
        started = [rig.start_worker(name) for name in ("one", "two")]
        for process in started:
            rig.beats(process, children=2)
        wait_until_healthy(f"http://127.0.0.1:{port}")
        yield rig


@pytest.fixture(scope="module")
def quantum(rig: Rig, prepared_command: PreparedPrograms) -> Quantum:
    """The shell of the platform's administrator."""
    quantum = Quantum(rig.environ, rig.folder / "token.json", prepared_command)
    root = ("--email", "root@platform.example", "--password-stdin")
    quantum("tenant", "create", "--first", *root, typed=PASSWORD)
    quantum("login", "--tenant", "platform", *root, typed=PASSWORD)
    return quantum
