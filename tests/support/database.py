"""A template database, migrated once for each version of the schema, cloned for each test module."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg2
from psycopg2 import sql

from app.runtime.postgres import create_database
from tests.support.catalogue import strange_events
from tests.support.servers import Cluster, DatabaseUrls, drop_database

ROOT = Path(__file__).resolve().parents[2]
SCHEMA_SOURCES = ("migrations", "app/db/migrate.py", "app/db/schema_state.py", "app/domain/states.py")


def schema_fingerprint() -> str:
    """Return a hash of every file that can change the schema, so that a changed one gets its own template."""
    digest = hashlib.sha256()
    for source in SCHEMA_SOURCES:
        path = ROOT / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.suffix in (".py", ".sql", ".mako", ".ini") and file.is_file():
                digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def ensure_template(cluster: Cluster) -> str:
    """Return the name of the migrated template of this schema, made by the first who asks."""
    from app.db.migrate import migrate  # noqa: PLC0415 - tests without a database need no migration

    name = f"template_{schema_fingerprint()}"
    with contextlib.closing(psycopg2.connect(cluster.url())) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('template'))")  # let go with the connection
        connection.commit()
        if not _exists(cluster, name):
            draft = f"draft_{uuid4().hex}"
            create_database(cluster.url(), draft)
            migrate(cluster.url("quantum_owner", draft))
            _execute(
                cluster, sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*map(sql.Identifier, (draft, name)))
            )
    return name


@contextlib.contextmanager
def cloned_database(cluster: Cluster) -> Iterator[DatabaseUrls]:
    """Yield a fresh clone of the template; dropped afterwards, whoever is still connected."""
    template = ensure_template(cluster)
    name = f"test_{uuid4().hex}"
    create_database(cluster.url(), name, template)
    try:
        yield DatabaseUrls.of(cluster, name)
        faults = strange_events(cluster.url(database=name))
        assert not faults, "events that are not as the catalogue says:\n" + "\n".join(faults)
    finally:
        drop_database(cluster.url(), name)


@contextlib.contextmanager
def empty_database(cluster: Cluster) -> Iterator[DatabaseUrls]:
    """Yield a database without any relation, for tests of the migrations themselves."""
    name = f"test_{uuid4().hex}"
    create_database(cluster.url(), name)
    try:
        yield DatabaseUrls.of(cluster, name)
    finally:
        drop_database(cluster.url(), name)


def _exists(cluster: Cluster, name: str) -> bool:
    with contextlib.closing(psycopg2.connect(cluster.url())) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        return cursor.fetchone() is not None


def _execute(cluster: Cluster, statement: sql.Composable) -> None:
    with contextlib.closing(psycopg2.connect(cluster.url())) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement)
