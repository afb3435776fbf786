"""A process says that it lives, ends when the schema has left it behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from app.db import processes
from app.db.engine import Database
from app.db.ids import new_id
from app.domain.upgrades import Process, WrongRelease
from app.services import attendance
from app.services.attendance import Attendance
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually


@pytest.fixture
def system(fresh_database_urls: DatabaseUrls) -> Iterator[Database]:
    database = Database(fresh_database_urls.system, "system")
    yield database
    database.dispose()


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    monkeypatch.setattr(attendance, "BEAT_S", 0.02)
    return threading.Event()


Attend = Callable[[Process], Attendance]


@pytest.fixture
def attend(system: Database, ended: threading.Event) -> Iterator[Attend]:
    """Makes the presence of a process, which leaves with the test."""
    made: list[Attendance] = []

    def make(process: Process) -> Attendance:
        made.append(Attendance(system, process, ended.set))
        return made[-1]

    yield make
    for each in made:
        each.leave()


def process(revision: str = "0001", needs: str = "0001") -> Process:
    return Process(new_id(), "api", "here", 7, "0.1.0", revision, needs)


def present(system: Database) -> list[object]:
    return [row[0] for row in system.call("SELECT boot FROM processes")]


def test_a_process_is_known_from_before_it_begins_until_it_has_left(
    system: Database, attend: Attend, ended: threading.Event
) -> None:
    one, two = process(), process()
    presences = [attend(each) for each in (one, two)]
    for each in presences:
        each.start()
    assert set(present(system)) == {one.boot, two.boot}
    first = system.call("SELECT max(seen_at) FROM processes")
    eventually(lambda: system.call("SELECT min(seen_at) FROM processes") > first, within=10)
    presences[0].leave()
    presences[0].leave()
    assert present(system) == [two.boot]
    presences[1].leave()
    assert present(system) == []
    assert not ended.is_set()


def test_a_process_whose_release_is_left_behind_ends(
    system: Database, fresh_database_urls: DatabaseUrls, attend: Attend, ended: threading.Event
) -> None:
    attend(process()).start()
    Database(fresh_database_urls.owner).call("UPDATE schema_floor SET revision = '0005'")
    assert eventually(ended.is_set, within=10)
    assert present(system) == []
    with pytest.raises(WrongRelease, match="start the newer release"):
        attend(process()).start()
    attend(process("0006")).start()


def test_a_process_does_not_begin_before_what_it_needs_is_there(system: Database, attend: Attend) -> None:
    with pytest.raises(WrongRelease, match="run `quantum migrate`"):
        attend(process("0003", needs="0002")).start()
    assert present(system) == []


def test_a_process_may_begin_while_the_database_is_away(ended: threading.Event) -> None:
    away = Database("postgresql://quantum_system:x@127.0.0.1:1/quantum", "system")
    presence = Attendance(away, process(), ended.set)
    presence.start()
    presence.leave()
    assert not ended.is_set()


def test_rows_of_processes_long_gone_are_removed(system: Database) -> None:
    one, two = process(), process()
    assert [processes.attend(system, each) for each in (one, two)] == ["welcome"] * 2
    system.call("UPDATE processes SET seen_at = seen_at - interval '25 hours' WHERE boot = %s", (one.boot,))
    assert processes.forget_old(system) == 1
    assert present(system) == [two.boot]
