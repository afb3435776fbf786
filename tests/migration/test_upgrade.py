"""The way to the next release: expand beside everybody, contract when the old ones have left."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from app.db import migrate as migration
from app.db import processes, revisions, schema_state
from app.db.engine import Database
from app.db.ids import new_id
from app.db.migrate import Outcome, SchemaBusy, current_revision, difference, migrate, plan
from app.db.schema_state import ReleaseTooOld
from app.domain.upgrades import OutOfOrder, Process, StillNeeded
from checks.migrations import judged
from tests.support.next_release import migrating_as
from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine
from tests.support.waiting import eventually

HELD = "SELECT count(*) FROM runs"
SNAPSHOT = "SELECT count(*) FROM roles"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('runs_origin')"


def ids(some: Any) -> list[str]:
    return [one.id for one in some]


def process(revision: str, kind: str = "worker") -> Process:
    return Process(new_id(), kind, "here", 7, "0.1.0", revision)


def attend(urls: DatabaseUrls, one: Process) -> str:
    return processes.attend(Database(urls.system, "system"), one)


@contextmanager
def session(urls: DatabaseUrls, statement: str, level: str = "READ COMMITTED") -> Iterator[Any]:
    """A transaction of the app role that has executed a statement and stays open."""
    with closing(psycopg2.connect(urls.app)) as held:
        held.set_session(isolation_level=level)
        with held.cursor() as cursor:
            cursor.execute(statement)
        yield held


@pytest.fixture
def quick_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "LOCK_TIMEOUT", "50ms")


@pytest.mark.usefixtures("following")
def test_expand_goes_beside_the_release_before_contract_waits_to_be_asked_for(
    fresh_database_urls: DatabaseUrls,
) -> None:
    urls = fresh_database_urls
    spine = Spine(urls)
    before = spine.start({"a": []})
    shown = plan(urls.owner)
    assert (shown.current, ids(shown.now), ids(shown.left)) == (
        "0001",
        ["0002", "0003", "0004"],
        ["0005", "0006"],
    )
    assert current_revision(urls.owner) == "0001", "a plan changes nothing"
    assert difference(urls.owner) == "at revision 0001, this release needs 0004"
    with pytest.raises(OutOfOrder, match=r"0002 \(expand\).* comes before 0005"):
        migrate(urls.owner, "contract")
    done = migrate(urls.owner, "expand")
    assert (ids(done.applied), ids(done.left)) == (["0002", "0003", "0004"], ["0005", "0006"])
    assert difference(urls.owner) == "", "what is left to contract keeps nobody from working"
    after = spine.start({"a": []})
    origins = dict(spine.admin.call("SELECT id, origin FROM runs"))
    assert origins == {before: "before", after: "declared"}, "the owner sees every tenant's rows to fill them"
    assert spine.admin.call("SELECT 1 FROM pg_policies WHERE policyname = 'migration_batches'") == []
    assert spine.admin.call(VALID) == [(True,)]
    assert migrate(urls.owner) == Outcome((), done.left), "nothing that the old release uses goes by itself"
    assert ids(migrate(urls.owner, "contract").applied) == ["0005", "0006"]
    assert migrate(urls.owner) == Outcome((), ())


@pytest.mark.usefixtures("following")
def test_a_new_database_gets_everything(empty_database_urls: DatabaseUrls) -> None:
    done = migrate(empty_database_urls.owner, "expand")
    assert (ids(done.applied)[-1], done.left) == ("0006", ())
    assert attend(empty_database_urls, process("0001")) == "too_old"


@pytest.mark.usefixtures("following")
def test_contract_is_refused_while_a_process_of_the_old_release_lives(
    fresh_database_urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = fresh_database_urls
    old, silent, new = process("0001", "api"), process("0001", "relay"), process("0006")
    assert [attend(urls, one) for one in (old, silent, new)] == ["welcome"] * 3
    migrate(urls.owner, "expand")
    with pytest.raises(StillNeeded) as refused:
        migrate(urls.owner, "contract")
    assert {one.boot for one in refused.value.processes} == {old.boot, silent.boot}
    assert "api on here (process 7, release 0.1.0, knows 0001" in str(refused.value)
    assert {one.boot for one in plan(urls.owner, "contract").needing(refused.value.revision)} == {
        old.boot,
        silent.boot,
    }
    assert current_revision(urls.owner) == "0004"
    assert attend(urls, old) == "welcome", "a refusal leaves everybody alone"
    processes.depart(Database(urls.system, "system"), old.boot)
    Database(urls.system, "system").call(
        "UPDATE processes SET seen_at = seen_at - interval '1 hour' WHERE boot = %s", (silent.boot,)
    )
    # The server has not been up for long where this test runs alone: what counts as silence is shortened.
    monkeypatch.setattr(schema_state, "GONE_AFTER_S", 0.0)
    migrate(urls.owner, "contract")
    assert attend(urls, old) == "too_old", "it would work on what is gone"
    assert attend(urls, new) == "welcome"


@pytest.mark.usefixtures("following")
def test_no_old_process_slips_in_while_the_floor_is_raised(fresh_database_urls: DatabaseUrls) -> None:
    urls = fresh_database_urls
    migrate(urls.owner, "expand")
    late = process("0001")
    lock = "SELECT pg_advisory_xact_lock(hashtext('quantum.attend'))"
    with closing(psycopg2.connect(urls.owner)) as raising, raising.cursor() as cursor:
        cursor.execute(lock)
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(attend(urls, late)))
        asking.start()
        waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        eventually(lambda: Database(urls.admin).call(waits), within=10)
        cursor.execute("UPDATE schema_floor SET revision = '0005'")
        raising.commit()
        asking.join(10)
    assert answers == ["too_old"]


def test_a_process_that_is_newer_than_the_schema_is_told_so(
    empty_database_urls: DatabaseUrls, fresh_database_urls: DatabaseUrls
) -> None:
    ahead = Process(new_id(), "api", "here", 7, "0.2.0", "0006", needs="0004")
    assert attend(fresh_database_urls, ahead) == "too_new"
    assert attend(empty_database_urls, process("0001")) == "too_new", "never migrated"


def test_the_old_release_works_on_the_expanded_schema_never_on_the_contracted(
    fresh_database_urls: DatabaseUrls, next_tree: Path
) -> None:
    urls = fresh_database_urls
    with migrating_as(next_tree):
        migrate(urls.owner, "expand")
    assert difference(urls.owner) == ""
    assert migrate(urls.owner) == Outcome((), (), ahead=True), "rolled back, its own migrate does no harm"
    with migrating_as(next_tree):
        migrate(urls.owner, "contract")
    assert "contracted to 0006, this release knows no more than 0001" in difference(urls.owner)
    with pytest.raises(ReleaseTooOld):
        migrate(urls.owner)


@pytest.mark.usefixtures("following", "quick_locks")
def test_a_lock_that_does_not_come_keeps_nobody_waiting(fresh_database_urls: DatabaseUrls) -> None:
    urls = fresh_database_urls
    pauses: list[float] = []
    with session(urls, HELD) as held:

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            assert Database(urls.app).call(HELD) == [(0,)], "nobody queues behind a migration that waits"
            if len(pauses) == 2:
                held.rollback()

        done = migrate(urls.owner, "expand", wait=pause)
    assert ids(done.applied) == ["0002", "0003", "0004"]
    assert pauses == [0.5, 1.0]


@pytest.mark.usefixtures("following", "quick_locks")
def test_a_migration_that_gives_up_says_who_holds_what(fresh_database_urls: DatabaseUrls) -> None:
    urls = fresh_database_urls
    with (
        session(urls, HELD) as held,
        pytest.raises(SchemaBusy, match=rf"{held.info.backend_pid} \(quantum_app"),
    ):
        migrate(urls.owner, "expand", patience_s=0)
    assert current_revision(urls.owner) == "0001", "the revision is undone as a whole"


@pytest.mark.usefixtures("following")
def test_what_a_killed_build_of_an_index_left_is_mended(fresh_database_urls: DatabaseUrls) -> None:
    urls = fresh_database_urls
    admin = Database(urls.admin)
    died = threading.Event()

    def die(_seconds: float) -> None:
        died.set()
        raise KeyboardInterrupt

    with session(urls, SNAPSHOT, "REPEATABLE READ"):  # the build waits for this snapshot
        killed = in_thread(lambda: migrate(urls.owner, "expand", wait=die))
        eventually(lambda: admin.call(VALID) == [(False,)], within=15)
        building = "FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY runs_origin%'"
        admin.call(f"SELECT pg_terminate_backend(pid) {building}")
        eventually(died.is_set, within=15)
        killed.join(15)
    assert admin.call(VALID) == [(False,)]
    assert current_revision(urls.owner) == "0003"
    assert difference(urls.owner) == "at revision 0003, this release needs 0004", (
        "its mark was written with it"
    )
    assert ids(migrate(urls.owner, "expand").applied) == ["0004"]
    assert admin.call(VALID) == [(True,)]


@pytest.mark.usefixtures("following")
def test_a_server_that_goes_away_is_waited_for(fresh_database_urls: DatabaseUrls) -> None:
    urls = fresh_database_urls
    admin = Database(urls.admin)
    with session(urls, SNAPSHOT, "REPEATABLE READ") as held:
        ended: list[Outcome] = []
        going = in_thread(lambda: ended.append(migrate(urls.owner, "expand")))
        eventually(lambda: admin.call(VALID) == [(False,)], within=15)
        ours = "FROM pg_stat_activity WHERE application_name = 'quantum-migrate'"
        admin.call(f"SELECT pg_terminate_backend(pid) {ours} AND datname = current_database()")
        held.rollback()
        going.join(30)
    assert ids(ended[0].applied)[-1] == "0004"
    assert admin.call(VALID) == [(True,)]


@pytest.mark.usefixtures("following")
def test_whoever_waits_for_its_turn_does_not_hold_up_the_build_of_an_index(
    fresh_database_urls: DatabaseUrls,
) -> None:
    urls = fresh_database_urls
    admin = Database(urls.admin)
    waited = threading.Event()
    ended: list[Outcome] = []

    def pause(_seconds: float) -> None:
        waited.set()
        threading.Event().wait(0.05)

    with session(urls, SNAPSHOT, "REPEATABLE READ"):
        first = in_thread(lambda: ended.append(migrate(urls.owner, "expand")))
        eventually(lambda: admin.call(VALID) == [(False,)], within=15)
        second = in_thread(lambda: ended.append(migrate(urls.owner, "expand", wait=pause)))
        eventually(waited.is_set, within=15)
    first.join(30)
    second.join(30)
    assert [ids(one.applied) for one in ended] == [["0002", "0003", "0004"], []]


def test_the_next_release_of_the_tests_keeps_the_rules_for_revisions(
    following: Path, fresh_database_urls: DatabaseUrls
) -> None:
    later = list(revisions.revisions()[1:])
    assert list(judged(fresh_database_urls.owner, later, following)) == []


def in_thread(call: Callable[[], object]) -> threading.Thread:
    def quietly() -> None:
        with suppress(KeyboardInterrupt):
            call()

    thread = threading.Thread(target=quietly, daemon=True)
    thread.start()
    return thread
