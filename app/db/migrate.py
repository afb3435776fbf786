"""Brings a database to the schema of this release."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.pool import NullPool

from app.db.engine import driver_url

LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "300s"
MIGRATION_LOCK = 0x5155414E54554D  # "QUANTUM"
OWNER_ROLE = "quantum_owner"


class SchemaDiffers(RuntimeError):
    """The database was made by another text of a revision than this release has: it cannot be upgraded."""


def migrate(owner_url: str) -> None:
    """Apply the revisions that are missing; safe to call twice and from two machines at once.

    The URL must lead to the server itself, not to a pooler: the migrators' lock belongs to the session.
    Raises SchemaDiffers, or SQLAlchemy's DBAPIError when a revision cannot be applied; it is then rolled
    back as a whole.
    """
    engine = create_engine(driver_url(owner_url), poolclass=NullPool)
    with engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def fingerprint(revision: str) -> str:
    """Return a digest of the SQL of this revision with all before it."""
    digest = hashlib.sha256()
    for file in sorted((files("migrations") / "sql").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".sql") and file.name.partition("_")[0] <= revision:
            digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def check_origin(connection: Connection) -> None:
    """Raise SchemaDiffers unless the database was made by the revisions as they are written here.

    Until the first release a revision may still be edited in place; a database of the older text would
    otherwise pass for up to date.
    """
    wrong = _other_origin(connection)
    if wrong:
        raise SchemaDiffers(wrong)


def note_origin(connection: Connection, revision: str) -> None:
    """Leave the mark that `check_origin` looks for."""
    connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{fingerprint(revision)}'"))


def _other_origin(connection: Connection) -> str:
    revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        return ""
    mark = connection.execute(text("SELECT obj_description('alembic_version'::regclass)")).scalar()
    if mark == fingerprint(revision):
        return ""
    return (
        f"made by another build of revision {revision}, which was never released: it cannot be upgraded."
        " Begin with an empty database (`quantum clean` removes the embedded one)"
    )


def current_revision(url: str) -> str | None:
    """The revision a database stands at, None when it was never migrated."""
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def latest_revision() -> str:
    """The revision this release needs."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("the release has no migrations")
    return head


def difference(url: str) -> str:
    """What keeps a database from this release's schema, in words; empty when nothing does."""
    current, newest = current_revision(url), latest_revision()
    if current is None:
        return "not migrated"
    return foreign(url) or ("" if current == newest else f"at revision {current}, newest is {newest}")


def foreign(url: str) -> str:
    """What keeps a database from ever being upgraded to this release, in words; empty when nothing does."""
    with create_engine(driver_url(url), poolclass=NullPool).connect() as connection:
        return _other_origin(connection)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config
