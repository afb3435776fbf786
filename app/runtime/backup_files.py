"""Backups as files of a folder: sealed dumps, each with a manifest that the same key vouches for."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from app.security.key_ring import KeyRing
from app.security.sealed_stream import SealBroken, sealed, unsealed

SUFFIX: Final = ".qpbackup"
DRAFT: Final = ".draft"
DUMP: Final = "dump"
BASE: Final = "base"


@dataclass(frozen=True, slots=True)
class Backup:
    """What the manifest tells of a backup; `rows` are counted in the snapshot that was dumped."""

    name: str
    created_at: str
    key_id: str
    """The key-encryption key from which the one of the file is derived."""
    revision: str
    server_version: int
    sha256: str
    bytes: int
    rows: Mapping[str, int]
    kind: str = DUMP
    wal_from: str = ""
    """Of a base backup: the segment of the log from which a recovery goes on."""
    ended_at: str = ""
    """Of a base backup: the earliest moment to which it can be brought."""


def new_name(now: datetime, kind: str = DUMP) -> str:
    """Return the name of a backup of that kind made now, like no other."""
    return f"quantum-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}{f'-{BASE}' if kind == BASE else ''}"


def write(path: Path, pieces: Iterable[bytes], key: bytes) -> tuple[str, int]:
    """Write the pieces sealed, down to the disk; return the SHA-256 of the file with its size in bytes.

    Whatever `pieces` raises leaves no file.
    """
    digest, size = hashlib.sha256(), 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        try:
            for piece in sealed(pieces, key):
                digest.update(piece)
                size += out.write(piece)
            out.flush()
            os.fsync(out.fileno())
        except BaseException:
            path.unlink()
            raise
    return digest.hexdigest(), size


def keep(folder: Path, draft: Path, made: Backup, key: bytes) -> None:
    """Give a written draft its name, then its manifest: before that it is no backup."""
    document = {"backup": asdict(made), "mac": _mac(asdict(made), key)}
    written = folder / f"{made.name}.manifest"
    written.write_text(json.dumps(document, indent=1))
    draft.rename(folder / (made.name + SUFFIX))
    written.rename(folder / f"{made.name}.json")


def backups(folder: Path, ring: KeyRing) -> list[Backup]:
    """Return the whole backups of `folder` whose key is in the ring, oldest first; raises SealBroken.

    A manifest that is not as its key wrote it is refused; those of other keys are `strangers`.
    """
    found = []
    for path, document in _manifests(folder):
        told = document["backup"]
        if told.get("key_id") not in ring.ids:
            continue
        if not hmac.compare_digest(document["mac"], _mac(told, ring.key(told["key_id"]))):
            raise SealBroken(f"{path.name} was changed")
        found.append(Backup(**told))
    return found


def strangers(folder: Path, ring: KeyRing) -> dict[str, str]:
    """Return the backups that no key of the ring opens: their names with the names of their keys."""
    told = [document["backup"] for _, document in _manifests(folder)]
    return {one["name"]: str(one.get("key_id")) for one in told if one.get("key_id") not in ring.ids}


def pieces(folder: Path, made: Backup, ring: KeyRing) -> Iterator[bytes]:
    """Yield the dump; raises SealBroken at the first piece that is not as it was written, KeyMissing."""
    with (folder / (made.name + SUFFIX)).open("rb") as source:
        yield from unsealed(source, ring.key(made.key_id))


def prune(folder: Path, ring: KeyRing, now: datetime, keep: int, days: int) -> list[str]:
    """Remove backups older than `days` beyond the latest `keep` of each kind; return their names.

    Those of missing keys stay. Drafts that nobody has written to for a day go, too.
    """
    found = backups(folder, ring)
    kinds = [[made for made in found if made.kind == kind] for kind in (DUMP, BASE)]
    old = [made for kind in kinds for made in kind[: -keep or None]]
    due = [made for made in old if datetime.fromisoformat(made.created_at) < now - timedelta(days=days)]
    for made in due:
        (folder / f"{made.name}.json").unlink()
        (folder / (made.name + SUFFIX)).unlink(missing_ok=True)
    for draft in folder.glob(f"quantum-*{DRAFT}"):
        if draft.stat().st_mtime < (now - timedelta(days=1)).timestamp():
            draft.unlink()
    return [made.name for made in due]


def _manifests(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.glob("quantum-*.json")):
        yield path, json.loads(path.read_text())


def _mac(document: Mapping[str, Any], key: bytes) -> str:
    text = json.dumps(document, sort_keys=True).encode()
    return hmac.new(key, b"quantum backup manifest" + text, hashlib.sha256).hexdigest()
