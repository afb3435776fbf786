"""A backup is proved by a restore; one that is cut, changed, or of another key is refused."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg2
import pytest

from app.db import hot
from app.db.engine import Database
from app.domain.leases import StepMessage
from app.runtime import backup
from app.runtime import backup_files as files
from app.runtime.backup_blobs import BlobStore
from app.runtime.backup_store import DRAFT, FolderStore
from app.runtime.binaries import postgres_bin
from app.runtime.dump import dumped
from app.runtime.failure import RuntimeFailure
from app.runtime.identity import server_identity
from app.runtime.restoring import restored
from app.security.key_ring import KeyMissing, KeyRing
from app.security.sealed_stream import MAGIC, PIECE, SealBroken, sealed, unsealed
from tests.support.blob_peer import Peer, blob_peer
from tests.support.servers import Cluster, DatabaseUrls
from tests.support.spine import BROKER, LEASE, Spine
from tests.support.waiting import eventually

KEY = bytes(range(32))
RING = KeyRing((KEY,))
HEADER = len(MAGIC) + 39
SERVERS_OWN = """
  UPDATE pg_attribute SET attoptions = '{pg_attver=7}' WHERE attrelid = 'runs'::regclass AND attname = 'id'
"""
"""What servers of November 2026 do by themselves, which a pg_dump of before writes down."""
HOLDS = """
  SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid)
  WHERE a.datname = %s AND a.application_name = 'psql' AND l.mode = 'AccessExclusiveLock'
"""
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return postgres_bin(tmp_path_factory.mktemp("bin"), server_identity())


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with blob_peer() as peer:
        yield peer


@pytest.mark.parametrize("size", [0, 1, PIECE, PIECE + 1, 3 * PIECE])
def test_a_stream_comes_back_and_a_cut_at_any_piece_shows(tmp_path: Path, size: int) -> None:
    path, plain = tmp_path / "f", bytes(size)
    path.write_bytes(b"".join(sealed([plain], KEY)))
    with path.open("rb") as source:
        assert b"".join(unsealed(source, KEY)) == plain
    whole = path.read_bytes()
    boundaries = range(HEADER + PIECE + 16, len(whole), PIECE + 16)
    for end in (
        len(whole) - 1,
        HEADER,
        *boundaries,
    ):  # a cut between two pieces shows by the mark of the last
        path.write_bytes(whole[:end])
        with path.open("rb") as source, pytest.raises(SealBroken):
            list(unsealed(source, KEY))
    path.write_bytes(whole)
    with path.open("rb") as source, pytest.raises(SealBroken):
        list(unsealed(source, bytes(32)))


def test_the_drill_with_backups_in_a_container(
    programs: Path, fresh_database_urls: DatabaseUrls, peer: Peer
) -> None:
    urls, store = fresh_database_urls, BlobStore(peer.connection_string, "drill")
    spine = Spine(urls)
    plan = spine.plan({"a": [], "b": ["a"]}, carriers={"a": 0, "b": 0})
    run = spine.declare(plan, broker=BROKER)
    spine.admin.call(SERVERS_OWN)
    began = time.monotonic()
    made = backup.create(programs, urls.admin, store, RING, NOW)
    assert (made.rows["runs"], made.rows["run_steps"]) == (1, 2)
    left = peer.containers["drill"]
    assert left.keys() == {f"{made.name}.json", made.name + files.SUFFIX}
    assert spine.tenant.bytes not in left[made.name + files.SUFFIX], "it is sealed before it leaves"
    assert files.backups(store, RING) == [made]
    seen: list[str] = []
    backup.verify(programs, store, made, RING, seen.append)
    assert len(seen) == 1

    later = spine.declare(plan, broker=BROKER)
    with pytest.raises(RuntimeFailure, match="not empty"):
        backup.restore(programs, urls.admin, store, made, RING, replace=False, disconnect=True)
    with pytest.raises(
        RuntimeFailure, match=r"in use: .*1 of quantum_app \(quantum-app, .*1 of quantum_system"
    ):
        backup.restore(programs, urls.admin, store, made, RING, replace=True, disconnect=False)
    for database in (spine.app, spine.system, spine.admin):
        database.dispose()
    backup.restore(programs, urls.admin, store, made, RING, replace=True, disconnect=False)
    assert time.monotonic() - began < 15 * 60
    again = Spine(urls)
    again.tenant = spine.tenant
    assert again.system.call("SELECT id FROM runs") == [(run,)], f"{later} came after the backup"
    goes_on(again, run)
    assert again.app.call("SELECT count(*) FROM runs") == [(0,)], "row security came back, too"
    assert files.prune(store, RING, NOW + timedelta(days=40), 1, 30) == []
    assert files.prune(store, RING, NOW + timedelta(days=40), 0, 30) == [made.name]
    assert peer.containers["drill"] == {}


def goes_on(spine: Spine, run: UUID) -> None:
    """A message of the past is worthless; the run goes on from its rows."""
    for epoch in (1, 2):
        message = StepMessage(spine.tenant, run, "a", epoch)
        assert hot.claim_step(spine.app, message, LEASE).verdict == "lost"
    with spine.app.tenant(spine.tenant) as connection:
        assert hot.ready_steps(connection, spine.tenant, run, 10) is not None
        sent = hot.mark_sent(connection, spine.tenant, run, ["a"], [0], BROKER)
    assert sent.epochs["a"] > backup.EPOCHS_AHEAD, "no message that was ever sent carries it"
    message = StepMessage(spine.tenant, run, "a", sent.epochs["a"])
    assert hot.claim_step(spine.app, message, LEASE).verdict == "claimed"


def test_a_changed_backup_and_a_changed_manifest_are_refused(
    programs: Path, fresh_database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path)
    made = backup.create(programs, fresh_database_urls.admin, store, RING, NOW)
    manifest = tmp_path / f"{made.name}.json"
    told = manifest.read_text()
    manifest.write_text(told.replace('"runs": 0', '"runs": 1'))
    with pytest.raises(SealBroken):
        files.backups(store, RING)
    manifest.write_text(told)
    path = tmp_path / (made.name + files.SUFFIX)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(SealBroken):
        backup.restore(programs, fresh_database_urls.admin, store, made, RING, replace=True, disconnect=False)
    assert Spine(fresh_database_urls).system.call("SELECT count(*) FROM tenants") == [(1,)], (
        "nothing was given up"
    )


def test_what_breaks_at_its_very_end_leaves_nothing(
    programs: Path, cluster: Cluster, database_urls: DatabaseUrls, empty_database_urls: DatabaseUrls
) -> None:
    url = empty_database_urls.admin
    admin = Database(cluster.url(), "admin")

    def pieces() -> Iterator[bytes]:
        yield from dumped(programs, database_urls.admin)
        eventually(lambda: admin.call(HOLDS, (urlsplit(url).path[1:],)), within=30, what="it is played")
        raise RuntimeFailure("the disk is gone")

    with pytest.raises(RuntimeFailure, match="the disk is gone"):
        restored(programs, url, pieces())
    with pytest.raises(RuntimeFailure, match=r"pg_restore failed: .*archive"):
        restored(programs, url, [b"no archive at all"])
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert cursor.fetchone() == (0,)
        cursor.execute("CREATE TABLE public.runs ()")
        connection.commit()
    with pytest.raises(RuntimeFailure, match=r'psql failed: .*"runs" already exists'):
        restored(programs, url, dumped(programs, database_urls.admin))
    admin.dispose()


def test_a_backup_outlives_the_change_of_keys_and_names_the_one_it_lost(
    programs: Path, fresh_database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    store = FolderStore(tmp_path)
    made = backup.create(programs, fresh_database_urls.admin, store, RING, NOW)
    newer = bytes(32)
    both, alone = KeyRing((newer, KEY)), KeyRing((newer,))
    assert [each.name for each in files.backups(store, both)] == [made.name]
    assert sum(map(len, files.pieces(store, made, both))) > 0
    assert (files.backups(store, alone), files.strangers(store, alone)) == (
        [],
        {made.name: RING.newest_id},
    )
    with pytest.raises(KeyMissing, match=RING.newest_id):
        list(files.pieces(store, made, alone))
    assert files.prune(store, alone, NOW + timedelta(days=99), 0, 1) == [], "it may still be found"
    draft = tmp_path / f"quantum-x{DRAFT}"
    draft.touch()
    assert files.prune(store, alone, NOW, 1, 30) == []
    assert draft.exists(), "somebody may be writing it"
    os.utime(draft, (0, 0))
    files.prune(store, alone, NOW, 1, 30)
    assert not draft.exists()
