"""The log beside base backups: sealed once it is whole, given back from the segment that is asked for."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest

from app.db.engine import Database
from app.db.slots import slots
from app.runtime import backup_files as files
from app.runtime import wal_archive
from app.runtime.backup_files import Backup
from app.runtime.backup_store import DRAFT, FolderStore
from app.runtime.binaries import postgres_bin
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.runtime.point_in_time import base_for
from app.runtime.wal_archive import WalArchive, WalReceiver
from app.security.key_ring import KeyMissing, KeyRing
from app.security.sealed_stream import SealBroken
from tests.support.servers import PrivateServers
from tests.support.waiting import eventually

OLD, NEW = KeyRing((b"o" * 32,)), KeyRing((b"n" * 32, b"o" * 32))
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
FIRST, SECOND, THIRD = (f"0000000100000000000000{n:02X}" for n in (9, 10, 11))


class Kept(FolderStore):
    """A folder that stands for a store elsewhere."""

    apart = True


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Two segments that are whole, the third under way."""
    spool = wal_archive.spool_in(tmp_path)
    spool.mkdir()
    for name in (FIRST, SECOND, f"{THIRD}.partial"):
        (spool / name).write_bytes(name.encode() * 1000)
    return spool


def given_back(store: FolderStore, ring: KeyRing, first: str, spool: Path | None) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as name:
        into = Path(name)
        assert wal_archive.unseal(store, ring, first, into, spool) == len(list(into.iterdir()))
        return {path.name: path.read_bytes() for path in into.iterdir()}


def test_whole_segments_are_sealed_and_come_back_across_a_change_of_keys(spool: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    old, new = (WalArchive(store, ring) for ring in (OLD, NEW))
    assert old.seal_complete(spool) == 2
    (spool / "00000002.history").write_text("1\t0/1\treason\n")
    (tmp_path / "wal" / f"00000002.history{DRAFT}").touch()  # of a receiver that died
    assert new.seal_complete(spool) == 1
    assert [path.name for path in spool.iterdir()] == [f"{THIRD}.partial"]
    sealed = b"".join(path.read_bytes() for path in (tmp_path / "wal").iterdir())
    assert FIRST.encode() not in sealed
    back = given_back(store, NEW, SECOND, spool)
    assert back.keys() == {SECOND, THIRD, "00000002.history"}
    assert back[SECOND] == SECOND.encode() * 1000
    with pytest.raises(KeyMissing, match=NEW.newest_id):
        given_back(store, OLD, SECOND, spool)
    assert wal_archive.forget_before(store, SECOND) == 1
    assert FIRST not in given_back(store, NEW, FIRST, spool)
    old.copy_partial(spool)
    assert given_back(store, NEW, SECOND, None).keys() == {SECOND, "00000002.history"}, (
        "it is on this machine"
    )


def test_the_unfinished_segment_is_copied_to_where_it_outlives_the_machine(
    spool: Path, tmp_path: Path
) -> None:
    store = Kept(tmp_path)
    archive = WalArchive(store, OLD)
    archive.seal_complete(spool)
    archive.copy_partial(spool)
    partial = spool / f"{THIRD}.partial"
    assert given_back(store, OLD, SECOND, None)[THIRD] == partial.name.encode() * 1000
    partial.write_bytes(b"more")
    os.utime(partial, (2_000_000_000, 2_000_000_000))
    assert given_back(store, OLD, SECOND, spool)[THIRD] == b"more", "what this machine has is newer"
    archive.copy_partial(spool)
    assert given_back(store, OLD, SECOND, None)[THIRD] == b"more"
    partial.rename(spool / THIRD)
    (spool / THIRD).write_bytes(b"all of it")
    assert archive.seal_complete(spool) == 1
    assert not [name for name in store.names() if "partial" in name]
    assert given_back(store, OLD, SECOND, spool)[THIRD] == b"all of it"


def test_a_changed_segment_is_refused(spool: Path, tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    WalArchive(store, OLD).seal_complete(spool)
    (path,) = (tmp_path / "wal").glob(f"{FIRST}*")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SealBroken):
        given_back(store, OLD, FIRST, spool)


def test_a_recovery_begins_with_the_latest_base_that_had_ended(tmp_path: Path) -> None:
    made, store = [], FolderStore(tmp_path)
    for hours in (30, 20, 10):
        ended = (NOW - timedelta(hours=hours)).isoformat()
        name = f"quantum-{100 - hours}-base"
        base = Backup(name, ended, OLD.newest_id, "0001", 180_000, "", 0, {}, files.BASE, SECOND, ended)
        made.append(base)
        files.keep(store, base, OLD.newest)
    dump = replace(made[0], name="quantum-99", kind=files.DUMP)
    found = [*files.backups(store, OLD), dump]
    assert base_for(found, NOW - timedelta(hours=15)) == made[1]
    assert base_for(found, NOW) == made[2]
    with pytest.raises(RuntimeFailure, match="no base backup of before"):
        base_for(found, NOW - timedelta(hours=31))
    files.keep(store, dump, OLD.newest)
    later = NOW + timedelta(days=40)
    assert files.prune(store, OLD, later, 1, 30) == [made[0].name, made[1].name], "one of each kind stays"


class Receiving:
    """Receivers over one slot of a server, in one folder, each run in a thread."""

    def __init__(self, servers: PrivateServers, folder: Path) -> None:
        self.url = servers.database.admin
        self.folder = folder
        self.spool = wal_archive.spool_in(folder)
        self.begun: list[bool] = []
        self.failures: list[str] = []
        self.programs = postgres_bin(folder / "bin", server_identity())
        self.server = Database(self.url, "admin", pool_size=1, overflow=0)

    def receiver(self) -> WalReceiver:
        return WalReceiver(
            *(self.programs, self.url, FolderStore(self.folder), self.spool, OLD),
            *("of_this_test", self.begun.append),
        )

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


def _taken_away(receiving: Receiving) -> bool:
    try:
        receiving.execute(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL",
            "SELECT pg_drop_replication_slot('of_this_test')",
        )
    except psycopg2.errors.ObjectInUse:
        return False  # its process still ends, or pg_receivewal was quicker to come back
    return True


def test_a_slot_that_the_server_gave_up_is_made_anew_and_what_was_received_stays(
    receiving: Receiving,
) -> None:
    with receiving.running():
        assert receiving.begun == [True]
    with receiving.running():
        assert receiving.begun == [True, False], "it goes on"
        assert "of another server" not in str(receiving.failures)
    (partial,) = receiving.spool.iterdir()
    much = ("SELECT pg_logical_emit_message(false, 'test', 'x')", "SELECT pg_switch_wal()")
    receiving.execute(*much * 4, "CHECKPOINT")
    eventually(lambda: receiving.state() == "lost", within=20)
    with receiving.running() as thread:
        assert receiving.begun == [True, False, True]
        sealed = [path.name for path in (receiving.folder / "wal").iterdir()]
        ended = partial.name.removesuffix(wal_archive.PARTIAL)
        assert any(name.startswith(ended) for name in sealed), "as far as it went"
        assert not partial.exists()
        eventually(lambda: _taken_away(receiving), within=20)
        thread.join(20)
    assert "has given the slot of_this_test up" in receiving.failures[0], "pg_receivewal would ask for ever"


def test_a_folder_with_the_log_of_another_server_is_refused(receiving: Receiving) -> None:
    FolderStore(receiving.folder).write(wal_archive.MARK, [b"7"])
    receiving.run(threading.Event())
    assert "holds the log of another server" in receiving.failures[0]
    assert receiving.state() is None
    assert not receiving.receiver().drop()
