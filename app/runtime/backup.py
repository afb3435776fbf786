"""Backups of the database: made, proved by a restore, restored."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg2
from psycopg2 import sql

from app.runtime import backup_files as files
from app.runtime.backup_files import Backup
from app.runtime.backup_store import BackupStore
from app.runtime.binaries import programs_of
from app.runtime.dump import dumped
from app.runtime.failure import RuntimeFailure
from app.runtime.guard import Guard
from app.runtime.identity import server_identity
from app.runtime.point_in_time import recovered
from app.runtime.postgres import ROLES, PostgresServer, create_database, create_roles
from app.runtime.restoring import restored
from app.runtime.stages import Stages
from app.security.key_ring import KeyRing

EPOCHS_AHEAD: Final = 1_000_000
"""Added to every dispatch epoch by a restore: no message that was ever sent carries one so high."""
POSITIONS_AHEAD: Final = 1_000_000_000
"""The same for the positions of events, which sinks remember."""

_CONNECTED: Final = """
  SELECT usename, application_name, coalesce(host(client_addr), 'local'), count(*) FROM pg_stat_activity
  WHERE datname = %s AND backend_type = 'client backend' AND pid <> pg_backend_pid()
  GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

Look = Callable[[str], None]


def create(
    programs: Path, admin_url: str, store: BackupStore, ring: KeyRing, now: datetime, name: str | None = None
) -> Backup:
    """Keep a dump, sealed under the newest key, with its manifest in `store`; raises `RuntimeFailure`.

    Needs a role that Row-Level Security does not hold. What is cut short leaves no manifest: no backup.
    """
    name = name or files.new_name(now)
    try:
        with contextlib.closing(psycopg2.connect(admin_url)) as connection:
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_export_snapshot(), version_num FROM public.alembic_version")
                snapshot, revision = cursor.fetchone() or ("", "")
                rows = _counts(cursor)
                dump = dumped(programs, admin_url, snapshot)
                sha256, size = files.write(store, name + files.SUFFIX, dump, ring.newest)
                version = connection.info.server_version
    except psycopg2.Error as failed:
        raise RuntimeFailure(f"the database cannot be read: {str(failed).strip()}") from failed
    made = Backup(name, now.isoformat(), ring.newest_id, revision, version, sha256, size, rows)
    files.keep(store, made, ring.newest)
    return made


def verify(programs: Path, store: BackupStore, made: Backup, ring: KeyRing, look: Look) -> None:
    """Restore the backup into a scratch cluster, compare its row counts, then let `look` see it.

    The cluster is of the server's major version where this machine has one, else of the programs'. Raises
    `RuntimeFailure` or SealBroken with the first thing that is not as the manifest tells.
    """
    with _scratch(programs_of(made.server_version // 10_000, programs) or programs) as url:
        restored(programs, url, files.pieces(store, made, ring))
        _compare(url, made.rows)
        look(url)


def restore(
    programs: Path,
    admin_url: str,
    store: BackupStore,
    made: Backup,
    ring: KeyRing,
    *,
    replace: bool,
    disconnect: bool,
    stages: Stages | None = None,
) -> None:
    """Restore the backup as the database that `admin_url` names; raises `RuntimeFailure` or SealBroken.

    A database with relations is refused unless `replace`, one that somebody is connected to unless
    `disconnect`, which ends those connections at the very end. The backup is restored beside it first and
    takes its name at the end, so a broken one costs nothing. What was sent or held is taken back, above every
    epoch that a message in a broker can carry; sinks are told what the outbox holds anew.
    """
    _refuse(admin_url, replace=replace, disconnect=disconnect)
    pieces = files.pieces(store, made, ring)
    _put_in_place(programs, admin_url, pieces, made.rows, stages or Stages(), disconnect=disconnect)


def restore_at(
    programs: Path,
    admin_url: str,
    store: BackupStore,
    base: Backup,
    ring: KeyRing,
    at: datetime,
    spool: Path | None = None,
    servers: Path | None = None,
    *,
    replace: bool,
    disconnect: bool,
    stages: Stages | None = None,
) -> int:
    """Restore the database as it stood at a moment, from a base backup with the log since; return its rows.

    A scratch server, of the programs in `servers` if that is named, is brought there; its dump takes the way
    of `restore`. `spool` is where this machine receives the log. Raises as `recovered` does.
    """
    _refuse(admin_url, replace=replace, disconnect=disconnect)
    stages = stages or Stages()
    with recovered(servers or programs, admin_url, store, base, ring, at, spool, stages) as url:
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            rows = _counts(cursor)
        _put_in_place(programs, admin_url, dumped(programs, url), rows, stages, disconnect=disconnect)
    return sum(rows.values())


def _refuse(admin_url: str, *, replace: bool, disconnect: bool) -> None:
    base, database = _split(admin_url)
    if _is_filled(base, database) and not replace:
        raise RuntimeFailure(f"the database {database} is not empty: --replace gives it up")
    if not disconnect:
        _refuse_while_used(base, database)


def _put_in_place(
    programs: Path,
    admin_url: str,
    pieces: Iterator[bytes],
    rows: Mapping[str, int],
    stages: Stages,
    *,
    disconnect: bool,
) -> None:
    base, database = _split(admin_url)
    beside = f"{database}_restoring"
    _execute(base + "postgres", sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(beside)))
    create_database(base + "postgres", beside)
    with stages.stage("restored beside the present database"):
        restored(programs, base + beside, pieces)
    with stages.stage("rows counted, messages voided"):
        _compare(base + beside, rows)
        _reconcile(base + beside)
    _drop(base, database, disconnect=disconnect)
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    _execute(base + "postgres", rename.format(sql.Identifier(beside), sql.Identifier(database)))


def _split(admin_url: str) -> tuple[str, str]:
    """Return the URL of the server up to the name of a database, then that name."""
    database = urlsplit(admin_url).path.lstrip("/")
    return admin_url[: -len(database)], database


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


def _compare(url: str, rows: Mapping[str, int]) -> None:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        found = _counts(cursor)
    wrong = sorted(name for name in {*found, *rows} if found.get(name) != rows.get(name))
    if wrong:
        raise RuntimeFailure(f"restored rows differ from those that were counted: {', '.join(wrong)}")


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


def _refuse_while_used(base: str, database: str) -> None:
    """Raise `RuntimeFailure` that names whoever is connected to the database, ourselves aside."""
    with contextlib.closing(psycopg2.connect(base + "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(_CONNECTED, (database,))
        found = [
            f"{count} of {user} ({application or 'unnamed'}, {host})"
            for user, application, host, count in cursor.fetchall()
        ]
    if found:
        who = "; ".join(found)
        raise RuntimeFailure(
            f"the database {database} is in use: {who}. Stop them; --disconnect ends their connections"
        )


def _drop(base: str, database: str, *, disconnect: bool) -> None:
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)" if disconnect else "DROP DATABASE IF EXISTS {}")
    try:
        _execute(base + "postgres", drop.format(sql.Identifier(database)))
    except psycopg2.errors.ObjectInUse:
        _refuse_while_used(base, database)
        raise


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
