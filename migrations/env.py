"""How Alembic runs a revision here: one transaction each, the mark of its text in the same.

`app.db.migrate` gives the connection: it bounds the waits, sees to it that one migrator runs at a time.
"""

from __future__ import annotations

from typing import Any

from alembic import context

from app.db.schema_state import note_origin


def note(ctx: Any, step: Any, **_: Any) -> None:
    """Leave the mark of the text that made the schema what it is now."""
    note_origin(ctx.connection, step.up_revision_id)


context.configure(
    connection=context.config.attributes["connection"],
    transaction_per_migration=True,
    on_version_apply=note,
)
with context.begin_transaction():
    context.run_migrations()
