"""Backups of the database: made, listed, proved by a restore, restored, pruned."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from app.runtime.dump import dumped, restored
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.runtime.identity import server_identity
from app.runtime.postgres import ROLES, PostgresServer, create_database, create_roles
from app.security.sealed_stream import SealBroken, sealed, unsealed

SUFFIX: Final = ".qpbackup"
EPOCHS_AHEAD: Final = 1_000_000
"""Added to every dispatch epoch by a restore: no message that was ever sent carries one so high."""
POSITIONS_AHEAD: Final = 1_000_000_000
"""The same for the positions of events, which sinks remember."""

Look = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Backup:
    """What the manifest tells of a backup; `rows` are counted in the snapshot that was dumped."""

    name: str
    created_at: str
    revision: str
    server_version: int
    sha256: str
    bytes: int
    rows: Mapping[str, int]


def create(programs: Path, admin_url: str, folder: Path, key: bytes, now: datetime) -> Backup:
    """Write a sealed dump with its manifest into `folder`; raises `RuntimeFailure`.

    Needs a role that Row-Level Security does not hold. What is cut short leaves no manifest: no backup.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"quantum-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    draft, digest = folder / f"{name}.draft", hashlib.sha256()
    with contextlib.closing(psycopg2.connect(admin_url)) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_export_snapshot(), version_num FROM public.alembic_version")
            snapshot, revision = cursor.fetchone() or ("", "")
            rows = _counts(cursor)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                for piece in sealed(dumped(programs, admin_url, snapshot), key):
                    digest.update(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            version = connection.info.server_version
    made = Backup(name, now.isoformat(), revision, version, digest.hexdigest(), draft.stat().st_size, rows)
    draft.rename(folder / (name + SUFFIX))
    _write_manifest(folder, made, key)
    return made


def backups(folder: Path, key: bytes) -> list[Backup]:
    """Return the whole backups of `folder`, oldest first; raises SealBroken for a manifest not ours."""
    found = []
    for path in sorted(folder.glob("quantum-*.json")):
        document = json.loads(path.read_text())
        if not hmac.compare_digest(document["mac"], _mac(document["backup"], key)):
            raise SealBroken(f"{path.name} was changed, or written with another key")
        found.append(Backup(**document["backup"]))
    return found


def verify(programs: Path, folder: Path, made: Backup, key: bytes, look: Look) -> None:
    """Restore the backup into a scratch cluster, compare revision with row counts, then let `look` see it.

    Raises `RuntimeFailure` or SealBroken with the first thing that is not as the manifest tells.
    """
    with _scratch(programs) as url:
        restored(programs, url, _pieces(folder, made, key))
        _compare(url, made)
        look(url)


def restore(programs: Path, admin_url: str, folder: Path, made: Backup, key: bytes, *, replace: bool) -> None:
    """Restore the backup as the database that `admin_url` names; raises `RuntimeFailure` or SealBroken.

    A database with relations is refused unless `replace`. It is restored beside it first, and takes its name
    at the end, so a backup that is broken costs nothing. What was sent or held is taken back, above every
    epoch that a message in a broker can carry; sinks are told what the outbox holds anew.
    """
    database = urlsplit(admin_url).path.lstrip("/")
    base = admin_url[: -len(database)]
    if _is_filled(base, database) and not replace:
        raise RuntimeFailure(f"the database {database} is not empty: --replace gives it up")
    beside = f"{database}_restoring"
    _execute(base + "postgres", sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(beside)))
    create_database(base + "postgres", beside)
    restored(programs, base + beside, _pieces(folder, made, key))
    _compare(base + beside, made)
    _reconcile(base + beside)
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
    _execute(base + "postgres", drop)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    _execute(base + "postgres", rename.format(sql.Identifier(beside), sql.Identifier(database)))


def prune(folder: Path, key: bytes, now: datetime, keep: int, days: int) -> list[str]:
    """Remove backups older than `days` beyond the latest `keep`; return their names."""
    old = backups(folder, key)[: -keep or None]
    due = [made for made in old if datetime.fromisoformat(made.created_at) < now - timedelta(days=days)]
    for made in due:
        (folder / f"{made.name}.json").unlink()
        (folder / (made.name + SUFFIX)).unlink(missing_ok=True)
    return [made.name for made in due]


def _pieces(folder: Path, made: Backup, key: bytes) -> Iterator[bytes]:
    with (folder / (made.name + SUFFIX)).open("rb") as source:
        yield from unsealed(source, key)


def _write_manifest(folder: Path, made: Backup, key: bytes) -> None:
    document = {"backup": asdict(made), "mac": _mac(asdict(made), key)}
    draft = folder / f"{made.name}.manifest"
    draft.write_text(json.dumps(document, indent=1))
    draft.rename(folder / f"{made.name}.json")


def _mac(document: Mapping[str, Any], key: bytes) -> str:
    text = json.dumps(document, sort_keys=True).encode()
    return hmac.new(key, b"quantum backup manifest" + text, hashlib.sha256).hexdigest()


def _counts(cursor: Any) -> dict[str, int]:
    cursor.execute(
        "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = 'public' AND c.relkind = 'r' ORDER BY 1"
    )
    counted = {}
    for (name,) in cursor.fetchall():
        cursor.execute(sql.SQL("SELECT count(*) FROM public.{}").format(sql.Identifier(name)))
        counted[str(name)] = int(cursor.fetchone()[0])
    return counted


def _compare(url: str, made: Backup) -> None:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        found = _counts(cursor)
    wrong = sorted(name for name in {*found, *made.rows} if found.get(name) != made.rows.get(name))
    if wrong:
        raise RuntimeFailure(f"restored rows differ from the manifest: {', '.join(wrong)}")


def _reconcile(url: str) -> None:
    statements: Sequence[str] = (
        "UPDATE run_steps SET dispatch_epoch = dispatch_epoch + %(epochs)s, sent_at = NULL, carrier = NULL"
        " WHERE state IN ('pending', 'ready', 'running', 'waiting')",
        "UPDATE workers SET state = 'dead', seen_at = 'epoch' WHERE state = 'live'",
        "SELECT setval('event_positions', nextval('event_positions') + %(positions)s)",
        "UPDATE relay_cursors SET epoch = '', owner = NULL, lease_until = NULL",
        "DELETE FROM leases",
    )
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, {"epochs": EPOCHS_AHEAD, "positions": POSITIONS_AHEAD})


def _is_filled(base: str, database: str) -> bool:
    with contextlib.closing(psycopg2.connect(base + "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
        if cursor.fetchone() is None:
            return False
    with contextlib.closing(psycopg2.connect(base + database)) as connection, connection.cursor() as cursor:
        return bool(_counts(cursor))


def _execute(url: str, statement: sql.Composable) -> None:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)


@contextlib.contextmanager
def _scratch(programs: Path) -> Iterator[str]:
    """Yield the URL of an empty database in a cluster of its own, gone afterwards."""
    state, guard, identity = Path(tempfile.mkdtemp(prefix="quantum-verify-")), Guard(), server_identity()
    state.chmod(0o711)
    (state / "log").mkdir()
    identity.own(state / "log")
    password = secrets.token_urlsafe(24)
    server = PostgresServer(state, guard, identity, password, ("fsync=off",), programs)
    try:
        server.start()
        create_roles(server.url(), {role: secrets.token_urlsafe(24) for role in ROLES})
        create_database(server.url())
        yield server.url(database="quantum")
    finally:
        server.stop()
        guard.close()
        shutil.rmtree(state, ignore_errors=True)
