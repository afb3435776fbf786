"""Migrations: once, twice, at once from two machines, as a plain owner."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy.exc import DBAPIError

from app.db.engine import Database
from app.db.migrate import current_revision, difference, latest_revision, migrate
from app.domain.upgrades import SchemaDiffers
from checks.schema import COMMITTED, catalogue
from tests.support.servers import DatabaseUrls


def test_migrate_twice(empty_database_urls: DatabaseUrls) -> None:
    assert difference(empty_database_urls.owner) == "not migrated"
    for _ in range(2):
        migrate(empty_database_urls.owner)
        assert current_revision(empty_database_urls.owner) == latest_revision()
    assert difference(empty_database_urls.owner) == ""


def test_two_machines_migrate_at_once(empty_database_urls: DatabaseUrls) -> None:
    script = "import sys; from app.db.migrate import migrate; migrate(sys.argv[1])"
    machines = [subprocess.Popen([sys.executable, "-c", script, empty_database_urls.owner]) for _ in range(2)]
    assert [machine.wait(60) for machine in machines] == [0, 0]
    assert difference(empty_database_urls.owner) == ""


def test_whoever_may_become_the_owner_leaves_the_same_schema(empty_database_urls: DatabaseUrls) -> None:
    migrate(empty_database_urls.admin)
    assert catalogue(empty_database_urls.owner) == COMMITTED.read_text(encoding="utf-8")


def test_schema_is_the_sum_of_the_migrations(database_urls: DatabaseUrls) -> None:
    assert catalogue(database_urls.owner) == COMMITTED.read_text(encoding="utf-8"), (
        "run python -m checks.schema --write"
    )


@pytest.mark.parametrize("mark", ["'0123456789abcdef'", "NULL"])
def test_a_database_of_another_text_of_a_revision_is_refused(
    empty_database_urls: DatabaseUrls, mark: str
) -> None:
    migrate(empty_database_urls.owner)
    Database(empty_database_urls.owner).call(f"COMMENT ON TABLE alembic_version IS {mark}")
    assert "another build of revision" in difference(empty_database_urls.owner)
    with pytest.raises(SchemaDiffers, match="cannot be upgraded"):
        migrate(empty_database_urls.owner)


def test_app_role_cannot_migrate(empty_database_urls: DatabaseUrls) -> None:
    with pytest.raises(DBAPIError):
        migrate(empty_database_urls.app)


def test_no_extension_is_needed(database_urls: DatabaseUrls) -> None:
    rows = Database(database_urls.admin).call("SELECT extname FROM pg_extension")
    assert rows == [("plpgsql",)]
