"""The SQL files that stand beside the revisions."""

from __future__ import annotations

from importlib.resources import files

from alembic import op


def run_sql(*names: str) -> None:
    """Execute files of migrations/sql as they are written: no parameter of any style is read in them."""
    folder = files("migrations") / "sql"
    connection = op.get_bind().execution_options(no_parameters=True)
    for name in names:
        connection.exec_driver_sql((folder / name).read_text(encoding="utf-8"))
