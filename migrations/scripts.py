"""What revisions are made of: SQL files, indexes built beside the traffic, rows changed in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

from alembic import op
from sqlalchemy import Connection, text

from app.db.migrate import LOCK_TIMEOUT, OWNER_ROLE

_VALID = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")
_POLICY = "migration_batches"
_BOUNDED = f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"
"""Before a statement that locks, in the same message: the two are one transaction."""


def run_sql(*names: str) -> None:
    """Execute files of migrations/sql as they are written: no parameter of any style is read in them."""
    folder = files("migrations") / "sql"
    for name in names:
        _execute(op.get_bind(), (folder / name).read_text(encoding="utf-8"))


def index_concurrently(name: str, statement: str) -> None:
    """Build an index while everybody goes on writing; `statement` is its CREATE INDEX CONCURRENTLY.

    That needs no transaction, so a revision that builds one does nothing else. What a build that was killed
    left behind, an index that is not valid, is dropped, and built anew; one that is whole stays.
    """
    with _autocommit() as connection:
        valid = connection.execute(_VALID, {"name": name}).scalar_one_or_none()
        if valid:
            return
        if valid is not None:
            _execute(connection, f"DROP INDEX CONCURRENTLY {name}")
        _execute(connection, statement)


def drop_index_concurrently(name: str) -> None:
    """Drop an index without keeping anybody waiting; a revision that does so does nothing else."""
    with _autocommit() as connection:
        _execute(connection, f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def in_batches(table: str, statement: str) -> int:
    """Execute a statement again and again, each time in a commit of its own, until it changes no row.

    It has to find by itself the next rows to change, a few thousand at a time: killed, it goes on where it
    stood. The owner is under row-level security like everybody, so it gets a policy for as long as this
    takes. Returns how many rows were changed. A revision that does so does nothing else.
    """
    changed = 0
    with _autocommit() as connection:
        drop = f"DROP POLICY IF EXISTS {_POLICY} ON {table}"
        make = f"CREATE POLICY {_POLICY} ON {table} TO {OWNER_ROLE} USING (true) WITH CHECK (true)"
        _execute(connection, f"{_BOUNDED}; {drop}; {make}")
        try:
            while moved := _execute(connection, statement):
                changed += moved
        finally:
            _execute(connection, f"{_BOUNDED}; {drop}")
    return changed


@contextmanager
def _autocommit() -> Iterator[Connection]:
    context = op.get_context()
    with context.autocommit_block():
        connection: Any = context.connection
        yield connection


def _execute(connection: Connection, statement: str) -> int:
    """Execute a statement as it is written; return how many rows it changed."""
    plain = connection.execution_options(no_parameters=True)
    return int(plain.exec_driver_sql(statement).rowcount)
