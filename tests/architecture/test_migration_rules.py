"""The rules for revisions, each with what breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from checks.migration_rules import Statement, judge
from checks.migrations import declarations, faults
from checks.report import ROOT
from checks.schema_view import View, view
from tests.support.servers import DatabaseUrls

EXPAND, CONTRACT = "expand", "contract"
FINE = (
    "ALTER TABLE runs ADD COLUMN more text",
    "ALTER TABLE runs ADD COLUMN more integer NOT NULL DEFAULT 0",
    "CREATE TABLE more (id integer PRIMARY KEY, run text NOT NULL CHECK (run <> ''));"
    " CREATE INDEX more_run ON more (run)",
    "CREATE OR REPLACE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql AS $$"
    " DELETE FROM runs; SELECT gen_random_uuid() $$",
    "CREATE FUNCTION step_count_of(p_run uuid) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE runs ADD COLUMN more text;"
    " ALTER TABLE runs ADD CONSTRAINT small CHECK (more < 'x') NOT VALID",
    "INSERT INTO roles VALUES ('guest', 'Looks on')",
    "ALTER DOMAIN run_state DROP CONSTRAINT run_state_check;"
    " ALTER DOMAIN run_state ADD CONSTRAINT run_state_check2 CHECK (VALUE <> '') NOT VALID",
    "CREATE TRIGGER more AFTER INSERT ON runs FOR EACH ROW EXECUTE FUNCTION hold_tenant()",
)
BREAKS = {
    "ALTER TABLE step_logs RENAME TO logs": "the relation step_logs is gone",
    "DROP TABLE step_progress": "the relation step_progress is gone",
    "ALTER TABLE workers ENABLE ROW LEVEL SECURITY": (
        "the relation workers is gone, or of another kind or row security"
    ),
    "ALTER TABLE workers DROP COLUMN heeds": "the column workers.heeds is gone",
    "ALTER TABLE workers RENAME COLUMN heeds TO obeys": "the column workers.heeds is gone",
    "ALTER TABLE workers ALTER COLUMN heeds TYPE varchar(9)": "the column workers.heeds is of another type",
    "ALTER TABLE workers ALTER COLUMN heeds DROP DEFAULT": "the column workers.heeds has lost its default",
    "ALTER TABLE runs ADD COLUMN more text NOT NULL": "the new column runs.more is NOT NULL without default",
    "ALTER TABLE runs ALTER COLUMN trace SET NOT NULL": "the column runs.trace becomes NOT NULL",
    "DROP FUNCTION due_waits(integer)": "the function due_waits(p_limit integer) is gone",
    "DROP FUNCTION due_waits(integer); CREATE FUNCTION due_waits(p_limit integer) RETURNS integer"
    " LANGUAGE sql AS 'SELECT 1'": "the function due_waits(p_limit integer) answers integer",
    "CREATE FUNCTION due_waits(p_limit integer, p_more text DEFAULT '') RETURNS integer"
    " LANGUAGE sql AS 'SELECT 1'": (
        "a call of due_waits(p_limit integer) could mean due_waits(p_limit integer, p_more text) as well"
    ),
    "DROP TRIGGER tenants_hold ON tenants": "the trigger tenants_hold of tenants is gone",
    "DROP POLICY system_jobs ON runs": "the policy system_jobs of runs is gone",
    "REVOKE UPDATE ON runs FROM quantum_app": "quantum_app has lost UPDATE on runs",
    "ALTER TABLE runs ADD CONSTRAINT small CHECK (depth < 9) NOT VALID": "small refuses what",
    "ALTER DOMAIN run_state ADD CONSTRAINT few CHECK (VALUE <> 'paused') NOT VALID": "few refuses what",
}
LOCKS = {
    "ALTER TABLE runs ALTER COLUMN depth TYPE bigint": "writes the table runs anew",
    "ALTER TABLE runs ADD COLUMN more float DEFAULT random()": "writes the table runs anew",
    "CREATE INDEX more ON runs (depth)": "builds the index more while nobody can write runs",
    "DROP INDEX runs_type": "drops the index runs_type while nobody can read runs",
    "ALTER TABLE runs ADD CONSTRAINT small CHECK (depth < 9)": "adds small of runs valid",
    "ALTER TABLE runs ADD FOREIGN KEY (tenant_id) REFERENCES tenants": "adds runs_tenant_id_fkey of runs",
    "ALTER DOMAIN run_state ADD CONSTRAINT few CHECK (VALUE <> '')": "adds few of run_state valid",
    "ALTER TABLE runs ALTER COLUMN trace SET NOT NULL": "makes runs.trace NOT NULL",
    "LOCK TABLE runs": "LOCK closes what it works on",
    "TRUNCATE step_logs": "TRUNCATE closes what it works on",
    "UPDATE runs SET priority = 0 WHERE priority > 9": "changes rows of runs that stay locked",
    "DELETE FROM ONLY public.step_logs": "changes rows of step_logs that stay locked",
}


@pytest.fixture(scope="module")
def owner(database_urls: DatabaseUrls) -> Iterator[Any]:
    with closing(psycopg2.connect(database_urls.owner)) as session:
        yield session


@pytest.fixture(scope="module")
def before(owner: Any) -> View:
    return view(owner)


def told(owner: Any, before: View, statement: str, phase: str) -> list[str]:
    """Execute what a revision would, judge it, undo it."""
    try:
        with owner.cursor() as cursor:
            cursor.execute(statement)
        return list(judge(before, view(owner), [Statement(statement)], phase))
    finally:
        owner.rollback()


@pytest.mark.parametrize("statement", FINE)
def test_what_neither_locks_nor_breaks_passes(owner: Any, before: View, statement: str) -> None:
    assert told(owner, before, statement, EXPAND) == []


@pytest.mark.parametrize("statement", BREAKS)
def test_what_breaks_old_processes_is_for_a_contract(owner: Any, before: View, statement: str) -> None:
    assert [words for words in told(owner, before, statement, EXPAND) if BREAKS[statement] in words]
    assert not [words for words in told(owner, before, statement, CONTRACT) if BREAKS[statement] in words]


@pytest.mark.parametrize("phase", [EXPAND, CONTRACT])
@pytest.mark.parametrize("statement", LOCKS)
def test_what_locks_people_out_is_for_neither(owner: Any, before: View, statement: str, phase: str) -> None:
    assert [words for words in told(owner, before, statement, phase) if LOCKS[statement] in words]


def test_an_index_over_old_columns_may_be_unique_in_a_contract_only(owner: Any, before: View) -> None:
    statement = "CREATE UNIQUE INDEX once ON runs (trace)"
    assert any("the unique index once refuses" in words for words in told(owner, before, statement, EXPAND))
    assert not any("the unique index" in words for words in told(owner, before, statement, CONTRACT))


def test_an_index_goes_with_its_column_or_concurrently(owner: Any, before: View) -> None:
    with_column = "ALTER TABLE runs DROP COLUMN due_at"
    assert told(owner, before, with_column, CONTRACT) == []
    assert any(
        "the index runs_type is gone" in words
        for words in told(owner, before, "DROP INDEX runs_type", EXPAND)
    )
    after = View(**{name: getattr(before, name) for name in before.__slots__} | {"indexes": {}})
    gone = [Statement(f"DROP INDEX CONCURRENTLY IF EXISTS {name}", alone=True) for name in before.indexes]
    assert list(judge(before, after, gone, CONTRACT)) == []


def test_rows_may_be_changed_in_batches(before: View) -> None:
    change = "UPDATE runs SET priority = 0"
    assert list(judge(before, before, [Statement(change, alone=True)], EXPAND)) == []
    assert list(judge(before, before, [Statement(f"/* {change} */ -- {change}")], EXPAND)) == []


def test_a_column_is_made_required_behind_a_valid_check(owner: Any) -> None:
    proof = "ALTER TABLE runs ADD CONSTRAINT told CHECK (trace IS NOT NULL)"
    with owner.cursor() as cursor:
        cursor.execute(proof)
    proved = view(owner)
    with owner.cursor() as cursor:
        cursor.execute("ALTER TABLE runs ALTER COLUMN trace SET NOT NULL")
    after = view(owner)
    owner.rollback()
    assert list(judge(proved, after, [], CONTRACT)) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("0002_a.py", "revision = '0002'\ndown_revision = '0001'\n", "a revision declares its phase"),
        ("0002_a.py", "revision = '0002'\nphase = 'grow'\ndown_revision = '0001'\n", "expand or contract"),
        (
            "0003_a.py",
            "revision = '0002'\nphase = 'expand'\ndown_revision = '0001'\n",
            "a file of another number",
        ),
        (
            "0003_a.py",
            "revision = '0003'\nphase = 'expand'\ndown_revision = '0002'\n",
            "the revision before is 0001",
        ),
    ],
)
def test_a_revision_says_what_it_is(tmp_path: Path, name: str, text: str, words: str) -> None:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    first = "revision = '0001'\nphase = 'expand'\ndown_revision = None\n"
    (versions / "0001_first.py").write_text(first)
    assert list(declarations(tmp_path)) == []
    (versions / name).write_text(text)
    assert words in " ".join(fault.words for fault in declarations(tmp_path))
    assert list(faults(tmp_path)) == list(declarations(tmp_path)), "what is not declared is not run"


def test_the_first_revision_is_an_expand(tmp_path: Path) -> None:
    versions = tmp_path / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_first.py").write_text("revision = '0001'\nphase = 'contract'\ndown_revision = None\n")
    assert [fault.words for fault in declarations(tmp_path)] == ["the first revision is an expand"]


def test_our_own_revisions_are_declared() -> None:
    assert list(declarations(ROOT)) == []
