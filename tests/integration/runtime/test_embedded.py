"""The embedded servers: started from wheels, kept, locked, recovered."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis

from app.runtime.embedded import EmbeddedServers, lock_holder, running_urls
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.settings.state import default_state_dir
from tests.support.processes import BIN, OsProcess, is_alive
from tests.support.waiting import eventually


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """Yield a folder that the servers' user can enter: pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="quantum-embedded-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """A state directory whose servers come and go; whoever comes first makes them."""
    with open_folder() as folder:
        yield folder


@pytest.fixture
def new_state() -> Iterator[Path]:
    """A state directory of this test alone."""
    with open_folder() as folder:
        yield folder


@contextlib.contextmanager
def running(state: Path) -> Iterator[EmbeddedServers]:
    servers = EmbeddedServers(state)
    servers.start()
    try:
        yield servers
    finally:
        servers.stop()


def execute(url: str, statement: str) -> list[tuple[object, ...]]:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_data_is_kept_over_an_orderly_stop_and_over_kill_9(state: Path) -> None:
    with running(state) as servers:
        assert servers.postgres and servers.valkey
        owner = servers.urls["DATABASE_OWNER_URL"]
        execute(owner, "CREATE TABLE kept AS SELECT generate_series(1, 500) AS n")
        redis.Redis.from_url(servers.urls["REDIS_URL"]).rpush("kept", "a", "b")
        ports = servers.postgres.port, servers.valkey.port
    with running(state) as servers:
        assert servers.postgres and servers.valkey
        assert (servers.postgres.port, servers.valkey.port) == ports, "the URLs stay as they were"
        assert execute(owner, "SELECT count(*) FROM kept") == [(500,)]
        execute(owner, "INSERT INTO kept VALUES (501)")
        servers.postgres.kill()
        redis.Redis.from_url(servers.urls["REDIS_URL"]).config_set("appendfsync", "always")
        redis.Redis.from_url(servers.urls["REDIS_URL"]).rpush("kept", "c")
        servers.valkey.kill()
        servers.mend()
        assert execute(owner, "SELECT count(*) FROM kept") == [(501,)]
        assert redis.Redis.from_url(servers.urls["REDIS_URL"]).lrange("kept", 0, -1) == [b"a", b"b", b"c"]


def test_modes_passwords_and_addresses_are_closed(state: Path) -> None:
    with running(state) as servers:
        assert servers.postgres and servers.valkey
        assert mode(state) == 0o711
        assert mode(state / "pg") == 0o700
        assert (state / "pg").stat().st_uid == server_identity().uid
        assert mode(state / "credentials.json") == 0o600
        assert execute(servers.postgres.url(), "SHOW unix_socket_directories") == [("",)]
        assert execute(servers.postgres.url(), "SHOW password_encryption") == [("scram-sha-256",)]
        assert execute(servers.postgres.url(), "SHOW listen_addresses") == [("127.0.0.1",)]
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(servers.postgres.url("quantum_app", "wrong"))
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=servers.valkey.port).ping()
        assert execute(
            servers.postgres.url(),
            "SELECT bool_or(rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb) FROM pg_roles "
            "WHERE rolname LIKE 'quantum%'",
        ) == [(False,)]


def test_a_second_supervisor_is_refused_by_the_lock(state: Path) -> None:
    with running(state) as servers:
        assert lock_holder(state) == os.getpid()
        assert running_urls(state) == servers.urls
        with pytest.raises(RuntimeFailure, match=f"already run by process {os.getpid()}"):
            EmbeddedServers(state).start()
        assert servers.postgres
        assert servers.postgres.running, "the refused one left the first alone"
    assert lock_holder(state) is None
    assert running_urls(state) == {}


HOLD = """
import sys, threading
from pathlib import Path
from app.runtime.embedded import EmbeddedServers
servers = EmbeddedServers(Path(sys.argv[1]))
servers.start()
print("pids", servers.postgres.pid, servers.valkey.pid, flush=True)
threading.Event().wait()
"""


def test_a_supervisor_killed_with_9_leaves_nothing_and_the_next_one_recovers(
    state: Path, tmp_path: Path
) -> None:
    with OsProcess([str(BIN / "python"), "-c", HOLD, str(state)], log=tmp_path / "log") as holder:
        holder.wait_for("pids")
        pids = [int(word) for word in holder.output.split("pids")[1].split()[:2]]
        holder.kill()
        eventually(lambda: not any(map(is_alive, pids)), what="the servers end with their supervisor")
    with running(state) as servers:
        assert execute(servers.urls["DATABASE_URL"], "SELECT 1") == [(1,)]


def test_a_stale_pid_file_whose_number_a_stranger_has_is_no_obstacle(state: Path) -> None:
    with running(state) as servers:
        assert servers.postgres
        servers.postgres.kill()
    pid_file = state / "pg" / "postmaster.pid"
    _, rest = pid_file.read_text().split("\n", 1)
    with OsProcess(["/bin/sleep", "60"], log=state / "log" / "stranger") as stranger:
        pid_file.write_text(f"{stranger.pid}\n{rest}")
        with running(state) as servers:
            assert execute(servers.urls["DATABASE_URL"], "SELECT 1") == [(1,)]
        assert stranger.exit_code is None, "the stranger was not harmed"
        stranger.send(signal.SIGKILL)


def test_a_clone_below_a_closed_folder_keeps_its_state_elsewhere(tmp_path: Path) -> None:
    clone = tmp_path / "closed" / "clone"
    clone.mkdir(parents=True)
    tmp_path.chmod(0o700)
    assert default_state_dir(clone, uid=1000) == clone / ".quantum"
    assert default_state_dir(clone, uid=0).parent == Path("/var/lib/quantum")


@pytest.mark.skipif(os.getuid() != 0, reason="only root's servers run as another user")
def test_programs_below_a_closed_folder_are_copied_for_the_servers_user(
    new_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.runtime.binaries.closed_parent", lambda path: Path("/closed"))
    with running(new_state) as servers:
        assert servers.postgres
        assert (new_state / "bin").is_dir()
        assert execute(servers.urls["DATABASE_URL"], "SELECT lower('ÄÖ')") == [("äö",)]
        owner = Path(f"/proc/{servers.postgres.pid}").stat().st_uid
        assert owner == server_identity().uid != 0
