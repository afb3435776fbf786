"""Backups as contents of a store: sealed dumps, each with a manifest that the same key vouches for."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from app.runtime.backup_store import BackupStore, Stream
from app.security.key_ring import KeyRing
from app.security.sealed_stream import SealBroken, sealed, unsealed

SUFFIX: Final = ".qpbackup"
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


def write(store: BackupStore, name: str, pieces: Iterable[bytes], key: bytes) -> tuple[str, int]:
    """Keep the pieces sealed under a name; return the SHA-256 of what is kept with its size in bytes.

    Whatever `pieces` raises leaves nothing.
    """
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes]:
        nonlocal size
        for piece in sealed(pieces, key):
            digest.update(piece)
            size += len(piece)
            yield piece

    store.write(name, counted())
    return digest.hexdigest(), size


def keep(store: BackupStore, made: Backup, key: bytes) -> None:
    """Write the manifest of what is kept already: before that it is no backup."""
    document = {"backup": asdict(made), "mac": _mac(asdict(made), key)}
    store.write(f"{made.name}.json", [json.dumps(document, indent=1).encode()])


def backups(store: BackupStore, ring: KeyRing) -> list[Backup]:
    """Return the whole backups of a store whose key is in the ring, oldest first; raises SealBroken.

    A manifest that is not as its key wrote it is refused; those of other keys are `strangers`.
    """
    found = []
    for name, document in _manifests(store):
        told = document["backup"]
        if told.get("key_id") not in ring.ids:
            continue
        if not hmac.compare_digest(document["mac"], _mac(told, ring.key(told["key_id"]))):
            raise SealBroken(f"{name} was changed")
        found.append(Backup(**told))
    return found


def strangers(store: BackupStore, ring: KeyRing) -> dict[str, str]:
    """Return the backups that no key of the ring opens: their names with the names of their keys."""
    told = [document["backup"] for _, document in _manifests(store)]
    return {one["name"]: str(one.get("key_id")) for one in told if one.get("key_id") not in ring.ids}


def pieces(store: BackupStore, made: Backup, ring: KeyRing) -> Iterator[bytes]:
    """Yield the dump; raises SealBroken at the first piece that is not as it was written, KeyMissing."""
    yield from unsealed(Stream(store.read(made.name + SUFFIX)), ring.key(made.key_id))


def prune(store: BackupStore, ring: KeyRing, now: datetime, keep: int, days: int) -> list[str]:
    """Remove backups older than `days` beyond the latest `keep` of each kind; return their names.

    Those of missing keys stay. What was begun a day ago or earlier and never ended goes, too.
    """
    found = backups(store, ring)
    kinds = [[made for made in found if made.kind == kind] for kind in (DUMP, BASE)]
    old = [made for kind in kinds for made in kind[: -keep or None]]
    due = [made for made in old if datetime.fromisoformat(made.created_at) < now - timedelta(days=days)]
    for made in due:
        store.delete(f"{made.name}.json")
        store.delete(made.name + SUFFIX)
    names = store.names()
    for name in names:
        stem = name.removesuffix(SUFFIX)
        if stem != name and f"{stem}.json" not in names and _begun(stem) < now - timedelta(days=1):
            store.delete(name)
    store.sweep(now - timedelta(days=1))
    return [made.name for made in due]


def _begun(name: str) -> datetime:
    """Return when a backup of this name was begun."""
    return datetime.strptime(name.split("-")[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def _manifests(store: BackupStore) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in store.names():
        if name.startswith("quantum-") and name.endswith(".json"):
            yield name, json.loads(b"".join(store.read(name)))


def _mac(document: Mapping[str, Any], key: bytes) -> str:
    text = json.dumps(document, sort_keys=True).encode()
    return hmac.new(key, b"quantum backup manifest" + text, hashlib.sha256).hexdigest()
