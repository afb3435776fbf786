"""The log beside base backups: sealed once it is whole, given back from the segment that is asked for."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.runtime import backup_files as files
from app.runtime import wal_archive
from app.runtime.backup_files import Backup
from app.runtime.failure import RuntimeFailure
from app.runtime.point_in_time import base_for
from app.security.key_ring import KeyMissing, KeyRing
from app.security.sealed_stream import SealBroken

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
