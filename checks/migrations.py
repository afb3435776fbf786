"""Revisions after the first: each is applied to a scratch database, what it did is judged."""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from app.db.engine import driver_url
from app.db.revisions import REVISION_FILE, read_revisions
from app.domain.upgrades import EXPAND, PHASES, Revision
from checks.migration_rules import Statement, judge
from checks.report import ROOT, Fault, tell
from checks.schema_view import View, view

VERSIONS = Path("migrations/versions")


def declarations(root: Path) -> Iterator[Fault]:
    """Yield what is wrong with the files: no phase, no chain of numbers, a first one that is no expand."""
    paths = sorted(path for path in (root / VERSIONS).glob("*.py") if REVISION_FILE.fullmatch(path.name))
    above: str | None = None
    for path, revision in zip(paths, read_revisions(root / VERSIONS), strict=True):
        place = str(path.relative_to(root))
        if revision.phase not in PHASES:
            yield Fault(place, 1, f"a revision declares its phase: {' or '.join(PHASES)}")
        if above is None and revision.phase != EXPAND:
            yield Fault(place, 1, "the first revision is an expand")
        if path.name[:4] != revision.id:
            yield Fault(place, 1, f"the revision {revision.id} stands in a file of another number")
        if _below(path) != above:
            yield Fault(place, 1, f"down_revision is {_below(path)}, the revision before is {above}")
        above = revision.id


def judged(url: str, later: list[Revision], root: Path = ROOT) -> Iterator[tuple[Revision, str]]:
    """Apply the revisions to the database of the first one; yield what each must not do."""
    for revision in later:
        before = seen(url)
        done = applied(url, revision.id, root)
        for words in judge(before, seen(url), done, revision.phase):
            yield revision, words


def seen(url: str) -> View:
    """Return the schema of a database."""
    with contextlib.closing(psycopg2.connect(url)) as session:
        return view(session)


def applied(url: str, revision: str, root: Path = ROOT) -> list[Statement]:
    """Apply revisions up to this one; return what was executed."""
    config = Config()
    config.set_main_option("script_location", str(root / "migrations"))
    engine = create_engine(driver_url(url), poolclass=NullPool)
    done: list[Statement] = []

    def note(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        alone = connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
        done.append(Statement(statement, alone))

    event.listen(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return done


def faults(root: Path) -> Iterator[Fault]:
    """Yield every fault of the revisions; a server is started only for those after the first."""
    found = list(declarations(root))
    yield from found
    first, *later = read_revisions(root / VERSIONS)
    if found or not later:
        return
    from tests.support.database import empty_database  # noqa: PLC0415 - starts what the first one needs not
    from tests.support.servers import postgres_cluster  # noqa: PLC0415 - as above

    paths = {path.name[:4]: str(path.relative_to(root)) for path in (root / VERSIONS).glob("*.py")}
    with postgres_cluster() as cluster, empty_database(cluster) as urls:
        applied(urls.owner, first.id, root)
        for revision, words in judged(urls.owner, later, root):
            yield Fault(paths[revision.id], 1, words)


def _below(path: Path) -> str | None:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "down_revision":
            return ast.literal_eval(node.value)  # type: ignore[no-any-return]  # None, or the number
    return None


if __name__ == "__main__":
    sys.exit(tell(faults(ROOT)))
