"""Brings a database to the schema of this release."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from app.db.engine import driver_url

LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "300s"
MIGRATION_LOCK = 0x5155414E54554D  # "QUANTUM"
OWNER_ROLE = "quantum_owner"


def migrate(owner_url: str) -> None:
    """Apply the revisions that are missing; safe to call twice and from two machines at once.

    The URL must lead to the server itself, not to a pooler: the migrators' lock belongs to the session.
    Raises SQLAlchemy's DBAPIError when a revision cannot be applied; it is then rolled back as a whole.
    """
    engine = create_engine(driver_url(owner_url), poolclass=NullPool)
    with engine.connect() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
    if current == newest:
        return ""
    return f"at revision {current}, newest is {newest}" if current else "not migrated"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config
