"""The log beside base backups: sealed once it is whole, given back from the segment that is asked for."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from app.db.engine import Database
from app.db.slots import slots
from app.runtime import backup_files as files
from app.runtime import wal_archive
from app.runtime.backup_files import Backup
from app.runtime.binaries import postgres_bin
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.runtime.point_in_time import base_for
from app.runtime.wal_archive import WalReceiver
from app.security.key_ring import KeyMissing, KeyRing
from app.security.sealed_stream import SealBroken
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually

OLD, NEW = KeyRing((b"o" * 32,)), KeyRing((b"n" * 32, b"o" * 32))
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FIRST, SECOND, THIRD = (f"0000000100000000000000{n:02X}" for n in (9, 10, 11))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two segments that are whole, the third under way."""
    for made in (wal_archive.open_folder(tmp_path), wal_archive.sealed_folder(tmp_path), tmp_path / "into"):
        made.mkdir()
    for name in (FIRST, SECOND, f"{THIRD}.partial"):
        (wal_archive.open_folder(tmp_path) / name).write_bytes(name.encode() * 1000)
    return tmp_path


def given_back(folder: Path, ring: KeyRing, first: str) -> dict[str, bytes]:
    into = Path(tempfile.mkdtemp(dir=folder))
    assert wal_archive.unseal(folder, ring, first, into) == len(list(into.iterdir()))
    return {path.name: path.read_bytes() for path in into.iterdir()}


def test_whole_segments_are_sealed_and_come_back_across_a_change_of_keys(folder: Path) -> None:
    assert wal_archive.seal_complete(folder, OLD) == 2
    (wal_archive.open_folder(folder) / "00000002.history").write_text("1\t0/1\treason\n")
    (wal_archive.sealed_folder(folder) / f"00000002.history{files.DRAFT}").touch()  # of a receiver that died
    assert wal_archive.seal_complete(folder, NEW) == 1
    assert [path.name for path in wal_archive.open_folder(folder).iterdir()] == [f"{THIRD}.partial"]
    sealed = b"".join(path.read_bytes() for path in wal_archive.sealed_folder(folder).iterdir())
    assert FIRST.encode() not in sealed
    back = given_back(folder, NEW, SECOND)
    assert back.keys() == {SECOND, THIRD, "00000002.history"}
    assert back[SECOND] == SECOND.encode() * 1000
    with pytest.raises(KeyMissing, match=NEW.newest_id):
        wal_archive.unseal(folder, OLD, SECOND, folder / "into")
    assert wal_archive.forget_before(folder, SECOND) == 1
    assert FIRST not in given_back(folder, NEW, FIRST)


def test_a_changed_segment_is_refused(folder: Path) -> None:
    wal_archive.seal_complete(folder, OLD)
    (path,) = wal_archive.sealed_folder(folder).glob(f"{FIRST}*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SealBroken):
        wal_archive.unseal(folder, OLD, FIRST, folder / "into")


def test_a_recovery_begins_with_the_latest_base_that_had_ended(tmp_path: Path) -> None:
    made = []
    for hours in (30, 20, 10):
        ended = (NOW - timedelta(hours=hours)).isoformat()
        name = f"quantum-{100 - hours}-base"
        base = Backup(name, ended, OLD.newest_id, "0001", 180_000, "", 0, {}, files.BASE, SECOND, ended)
        made.append(base)
        draft = tmp_path / f"{name}{files.DRAFT}"
        draft.touch()
        files.keep(tmp_path, draft, base, OLD.newest)
    dump = replace(made[0], name="quantum-99", kind=files.DUMP)
    found = [*files.backups(tmp_path, OLD), dump]
    assert base_for(found, NOW - timedelta(hours=15)) == made[1]
    assert base_for(found, NOW) == made[2]
    with pytest.raises(RuntimeFailure, match="no base backup of before"):
        base_for(found, NOW - timedelta(hours=31))
    draft = tmp_path / f"x{files.DRAFT}"
    draft.touch()
    files.keep(tmp_path, draft, dump, OLD.newest)
    later = NOW + timedelta(days=40)
    assert files.prune(tmp_path, OLD, later, 1, 30) == [made[0].name, made[1].name], "one of each kind stays"


class Receiving:
    """Receivers over one slot of a server, in one folder, each run in a thread."""

    def __init__(self, servers: PrivateServers, folder: Path) -> None:
        self.url = servers.database.admin
        self.folder = folder
        self.begun: list[bool] = []
        self.failures: list[str] = []
        self.programs = postgres_bin(folder / "bin", server_identity())
        self.server = Database(self.url, "admin", pool_size=1, overflow=0)

    def receiver(self) -> WalReceiver:
        return WalReceiver(self.programs, self.url, self.folder, OLD, "of_this_test", self.begun.append)

    def state(self) -> str | None:
        return next((slot.state for slot in slots(self.server) if slot.name == "of_this_test"), None)

    def run(self, stop: threading.Event) -> None:
        try:
            self.receiver().run(stop)
        except RuntimeFailure as failure:
            self.failures.append(str(failure))

    @contextlib.contextmanager
    def running(self) -> Iterator[threading.Thread]:
        stop = threading.Event()
        thread = threading.Thread(target=self.run, args=(stop,))
        thread.start()
        try:
            eventually(lambda: self.state() == "read" or self.failures, within=30)
            yield thread
        finally:
            stop.set()
            thread.join()

    def execute(self, *statements: str) -> None:
        with contextlib.closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            for statement in statements:
                cursor.execute(statement)


@pytest.fixture
def receiving(own_servers: PrivateServers, tmp_path: Path) -> Iterator[Receiving]:
    """Over a server whose slots may keep no more than a segment, which is asked for them at each look."""
    receiving = Receiving(own_servers, tmp_path / "backups")
    bound = "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wal_archive, "ASK_EVERY", 1)
        patch.setattr(wal_archive, "LOOK_EVERY_S", 0.2)
        receiving.execute(bound, "SELECT pg_reload_conf()")
        yield receiving
    receiving.receiver().drop()
    receiving.execute("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")
    receiving.server.dispose()


def test_a_slot_that_the_server_gave_up_is_made_anew_and_what_was_received_stays(
    receiving: Receiving,
) -> None:
    with receiving.running():
        assert receiving.begun == [True]
    with receiving.running():
        assert receiving.begun == [True, False], "it goes on"
        assert "of another server" not in str(receiving.failures)
    (partial,) = wal_archive.open_folder(receiving.folder).iterdir()
    much = ("SELECT pg_logical_emit_message(false, 'test', 'x')", "SELECT pg_switch_wal()")
    receiving.execute(*much * 4, "CHECKPOINT")
    eventually(lambda: receiving.state() == "lost", within=20)
    with receiving.running() as thread:
        assert receiving.begun == [True, False, True]
        sealed = [path.name for path in wal_archive.sealed_folder(receiving.folder).iterdir()]
        ended = partial.name.removesuffix(wal_archive.PARTIAL)
        assert any(name.startswith(ended) for name in sealed), "as far as it went"
        assert not partial.exists()
        receiving.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots",
            "SELECT pg_drop_replication_slot('of_this_test')",
        )
        thread.join(20)
    assert "has given the slot of_this_test up" in receiving.failures[0], "pg_receivewal would ask for ever"


def test_a_folder_with_the_log_of_another_server_is_refused(receiving: Receiving) -> None:
    wal_archive.sealed_folder(receiving.folder).mkdir(parents=True)
    (wal_archive.sealed_folder(receiving.folder) / "server").write_text("7")
    receiving.run(threading.Event())
    assert "holds the log of another server" in receiving.failures[0]
    assert receiving.state() is None
    assert not receiving.receiver().drop()
