"""One contract for every artifact store: files on a disk, the Azure client against a peer over a socket."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from app.artifacts.azure import AzureStore
from app.artifacts.blob_client import SINGLE_PUT
from app.artifacts.files import DRAFT, FileStore
from app.domain.artifacts import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactStore,
    ArtifactStoreFull,
    verified,
)
from app.domain.errors import Unavailable
from tests.support.blob_peer import Peer, blob_peer

A, B = UUID(int=1), UUID(int=2)
CONTENT = b"some content \0 of bytes" * 1000


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with blob_peer() as peer:
        yield peer


@pytest.fixture(params=["files", "azure"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    if request.param == "files":
        return FileStore(tmp_path / "artifacts")
    peer: Peer = request.getfixturevalue("peer")
    return AzureStore(peer.connection_string, f"c{uuid4().hex}")


def whole(store: ArtifactStore, tenant: UUID, content: bytes) -> bytes:
    return b"".join(verified(store.read(tenant, digest(content)), digest(content)))


@pytest.mark.parametrize(
    "content", [b"", b"x", CONTENT, os.urandom(SINGLE_PUT + 12345)], ids=["empty", "one", "some", "blocks"]
)
def test_what_is_put_comes_back(store: ArtifactStore, content: bytes) -> None:
    store.put(A, digest(content), content)
    store.put(A, digest(content), content)
    assert whole(store, A, content) == content
    assert store.size(A, digest(content)) == len(content)
    store.delete(A, digest(content))
    store.delete(A, digest(content))
    assert store.size(A, digest(content)) is None
    with pytest.raises(ArtifactMissing):
        store.read(A, digest(content))


def test_a_tenant_has_its_own(store: ArtifactStore) -> None:
    store.put(A, digest(CONTENT), CONTENT)
    with pytest.raises(ArtifactMissing):
        store.read(B, digest(CONTENT))
    store.put(B, digest(CONTENT), CONTENT)
    store.delete(A, digest(CONTENT))
    assert whole(store, B, CONTENT) == CONTENT


def test_many_write_the_same_at_once(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put(A, digest(CONTENT), CONTENT), range(16)))
    assert whole(store, A, CONTENT) == CONTENT


def test_damaged_content_is_never_handed_out_whole(store: ArtifactStore) -> None:
    wrong = digest(CONTENT)
    store.put(A, wrong, CONTENT[:-1] + b"!")
    pieces = verified(store.read(A, wrong), wrong)
    seen = b""
    with pytest.raises(ArtifactCorrupt):
        for piece in pieces:
            seen += piece
    assert len(seen) < len(CONTENT)


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "artifacts")
    store.put(A, digest(CONTENT), CONTENT)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert file.name == digest(CONTENT)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_damaged_file_is_mended_by_the_next_writer(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put(A, digest(CONTENT), CONTENT)
    (file,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    file.write_bytes(bytes(len(CONTENT)))
    store.put(A, digest(CONTENT), CONTENT)
    assert whole(store, A, CONTENT) == CONTENT


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactStoreFull):
        FileStore(tmp_path).put(A, digest(CONTENT), CONTENT)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_really_full_disk(tmp_path: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        store, content = FileStore(tmp_path), os.urandom(1 << 20)
        with pytest.raises(ArtifactStoreFull):
            store.put(A, digest(content), content)
        store.put(A, digest(b"small"), b"small")
        assert whole(store, A, b"small") == b"small"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_drafts_of_dead_writers_are_swept(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    store.put(A, digest(CONTENT), CONTENT)
    folder = next(path for path in tmp_path.rglob("*") if path.is_file()).parent
    old, young = folder / f"{DRAFT}1-old", folder / f"{DRAFT}2-young"
    for draft in (old, young):
        draft.touch()
    os.utime(old, (0, 0))
    assert store.sweep(3600) == 1
    assert young.exists()
    assert whole(store, A, CONTENT) == CONTENT


def test_a_folder_that_is_none_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FileStore(tmp_path / "file")
    for call in (lambda: store.put(A, digest(b"x"), b"x"), lambda: store.read(A, digest(b"x"))):
        _refused(call)


def _refused(call: Callable[[], object]) -> None:
    with pytest.raises(Unavailable):
        call()


def test_azure_full_away_or_with_another_key(peer: Peer) -> None:
    store = AzureStore(peer.connection_string, "quantum")
    peer.full = True
    try:
        with pytest.raises(ArtifactStoreFull):
            store.put(A, digest(b"x"), b"x")
            store.put(A, digest(b"x"), b"x")
    finally:
        peer.full = False
    stranger = AzureStore(peer.connection_string.replace("AccountKey=", "AccountKey=AAAA"), "quantum")
    _refused(lambda: stranger.put(A, digest(b"x"), b"x"))
    away = AzureStore(peer.connection_string.replace(peer.url, "http://127.0.0.1:9"), "quantum")
    _refused(lambda: away.read(A, digest(b"x")))
