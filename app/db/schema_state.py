"""What a database says of its schema: the revision, the text it came from, who works on it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from app.db import revisions
from app.domain.upgrades import Process, ReleaseTooOld, Revision, StillNeeded, who_needs

GONE_AFTER_S: Final = 30.0
"""After so long a silence a process that did not say good-bye is taken for gone."""

# After a restart of the server nobody has had the time to be heard of.
_LIVING: Final = (
    "SELECT boot, kind, host, pid, release, revision, '',"
    " extract(epoch FROM clock_timestamp() - seen_at)::float FROM processes"
    " WHERE greatest(seen_at, pg_postmaster_start_time()) > clock_timestamp() - :gone * interval '1 second'"
    " ORDER BY revision, kind, host, pid"
)


@dataclass(frozen=True, slots=True)
class SchemaState:
    """A schema: its revision (None: never migrated), the floor for releases, who works on it."""

    current: str | None
    floor: str = ""
    living: tuple[Process, ...] = ()

    @property
    def ahead(self) -> bool:
        """Whether a newer release has migrated it; raises ReleaseTooOld if that has left this one behind."""
        newest = revisions.newest()
        if self.floor > newest:
            raise ReleaseTooOld(
                f"the schema was contracted to {self.floor}, this release knows no more than {newest}:"
                " run the newer release, or restore a backup"
            )
        return self.current is not None and self.current > newest


def look(connection: Connection) -> SchemaState:
    """Return the state of the schema, as the owner sees it."""
    current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        return SchemaState(None)
    floor = connection.execute(text("SELECT revision FROM schema_floor")).scalar_one()
    rows = connection.execute(text(_LIVING), {"gone": GONE_AFTER_S}).all()
    return SchemaState(current, floor, tuple(Process(*row) for row in rows))


def raise_floor(connection: Connection, revision: Revision) -> None:
    """Let no release that does not know the contract begin any more; raises StillNeeded when one works now.

    Whoever begins asks under the same lock, so nobody slips in between the look and the commit.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('quantum.attend'))"))
    needing = who_needs(revision, look(connection).living)
    if needing:
        raise StillNeeded(revision, needing)
    connection.execute(
        text("UPDATE schema_floor SET revision = :id WHERE revision < :id"), {"id": revision.id}
    )


def fingerprint(revision: str) -> str:
    """Return a digest of the SQL of this revision with all before it."""
    digest = hashlib.sha256()
    for file in sorted((files("migrations") / "sql").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql") and file.name.partition("_")[0] <= revision:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def note_origin(connection: Connection, revision: str) -> None:
    """Leave the mark that `other_origin` looks for, in the transaction of the revision itself."""
    connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{fingerprint(revision)}'"))


def other_origin(connection: Connection, revision: str) -> str:
    """Return in words that another text of the revisions made the database, empty when none did.

    Until the first release a revision may still be edited in place; a database of the older text would
    otherwise pass for up to date.
    """
    mark = connection.execute(text("SELECT obj_description('alembic_version'::regclass)")).scalar()
    if mark == fingerprint(revision):
        return ""
    return (
        f"made by another build of revision {revision}, which was never released: it cannot be upgraded."
        " Begin with an empty database (`quantum clean` removes the embedded one)"
    )
