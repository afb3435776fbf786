"""One contract for every store of backups: a folder, the Azure client against a peer over a socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app.runtime import backup_files as files
from app.runtime.backup_blobs import BLOCK, BlobStore
from app.runtime.backup_store import BackupStore, FolderStore
from app.runtime.failure import RuntimeFailure
from app.security.key_ring import KeyRing
from tests.support.blob_peer import Peer, blob_peer

RING = KeyRing((bytes(range(32)),))
NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with blob_peer() as peer:
        yield peer


@pytest.fixture(params=["folder", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BackupStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "backups")
    peer: Peer = request.getfixturevalue("peer")
    return BlobStore(peer.connection_string, f"c{uuid4().hex}")


def whole(store: BackupStore, name: str) -> bytes:
    return b"".join(store.read(name))


def test_what_is_written_is_there_as_a_whole_is_replaced_is_gone(store: BackupStore) -> None:
    assert store.names() == []
    store.write("wal/b", [b"1", b"", b"23"])
    store.write("a", [b"x"])
    assert store.names() == ["a", "wal/b"]
    assert whole(store, "wal/b") == b"123"
    store.write("a", [])
    assert whole(store, "a") == b""
    for _ in range(2):
        store.delete("wal/b")
    assert store.names() == ["a"]
    with pytest.raises((RuntimeFailure, FileNotFoundError)):
        whole(store, "wal/b")


def test_many_blocks_come_back(store: BackupStore) -> None:
    piece = os.urandom(1 << 20)
    store.write("big", (piece for _ in range((BLOCK >> 20) + 3)))
    assert whole(store, "big") == piece * ((BLOCK >> 20) + 3)


def test_what_breaks_while_it_is_written_leaves_what_was_there(store: BackupStore) -> None:
    def pieces() -> Iterator[bytes]:
        yield bytes(BLOCK + 1)
        raise RuntimeFailure("pg_dump failed")

    for before in ([], ["a"]):
        with pytest.raises(RuntimeFailure, match="pg_dump failed"):
            store.write("a", pieces())
        assert store.names() == before
        store.write("a", [b"x"])
    assert whole(store, "a") == b"x"


def test_what_never_became_a_backup_goes_after_a_day(store: BackupStore) -> None:
    names = [files.new_name(NOW - timedelta(hours=hours)) + files.SUFFIX for hours in (25, 1)]
    for name in names:
        store.write(name, [b"x"])
    assert files.prune(store, RING, NOW, 1, 1) == []
    assert store.names() == names[1:]


def test_a_store_that_is_full_or_away_is_told(peer: Peer) -> None:
    store = BlobStore(peer.connection_string, "told")
    store.write("a", [b"x"])
    peer.full = True
    try:
        with pytest.raises(RuntimeFailure, match="is full"):
            store.write("b", [b"x"])
    finally:
        peer.full = False
    strange = peer.connection_string.replace("AccountKey=", "AccountKey=QUFB")
    with pytest.raises(RuntimeFailure, match="answered 403"):
        BlobStore(strange, "told").names()
