"""How Alembic runs a revision here: bounded waits, one migrator at a time, one transaction a revision."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, text

from app.db.migrate import (
    LOCK_TIMEOUT,
    MIGRATION_LOCK,
    OWNER_ROLE,
    STATEMENT_TIMEOUT,
    check_origin,
    latest_revision,
    note_origin,
)


def run(connection: Connection) -> None:
    """Upgrade over a connection of the owner, or of a role that may become the owner."""
    # Two machines at once: the second waits here, then finds nothing left to do.
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    # A migration that waits for a lock makes everybody behind it wait, too: give up early instead.
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
    may_become = text("SELECT current_user <> :owner AND pg_has_role(current_user, :owner, 'MEMBER')")
    if connection.execute(may_become, {"owner": OWNER_ROLE}).scalar():
        connection.execute(text(f"SET ROLE {OWNER_ROLE}"))
    connection.commit()
    try:
        check_origin(connection)
        connection.commit()
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
        note_origin(connection, latest_revision())
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()


run(context.config.attributes["connection"])
