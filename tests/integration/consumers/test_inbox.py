"""The inbox notes an event in the commit that handles it, in PostgreSQL as in SQLite."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest

from app.db.inbox import Inbox
from app.domain.errors import Unavailable
from tests.support.waiting import eventually

EVENT = {"source": "/tenants/1", "id": "e1", "type": "io.quantum.run.failed"}


@pytest.fixture(params=["postgresql", "sqlite"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("database"))
    return str(tmp_path / "inbox.db")


@pytest.fixture
def inbox(place: str) -> Inbox:
    inbox = Inbox(place, f"c-{uuid4().hex}")
    inbox.prepare()
    inbox.prepare()
    inbox.once(
        {"source": "s", "id": "table"},
        lambda cursor, _: cursor.execute("CREATE TABLE IF NOT EXISTS work (consumer text, id text)"),
    )
    return inbox


def write(cursor: Any, event: Mapping[str, Any]) -> None:
    cursor.execute(f"INSERT INTO work VALUES ('{event['consumer']}', '{event['id']}')")


def written(inbox: Inbox, consumer: str) -> list[str]:
    found: list[str] = []

    def read(cursor: Any, _: Any) -> None:
        cursor.execute(f"SELECT id FROM work WHERE consumer = '{consumer}'")
        found.extend(id_ for (id_,) in cursor.fetchall())

    inbox.once({"source": "look", "id": uuid4().hex}, read)
    return found


def test_an_event_is_handled_once_by_source_with_id(inbox: Inbox) -> None:
    mine = {**EVENT, "consumer": uuid4().hex}
    assert inbox.once(mine, write)
    assert not inbox.once(mine, write)
    assert inbox.once({**mine, "source": "/tenants/2"}, write)
    assert written(inbox, mine["consumer"]) == ["e1", "e1"]


def test_consumers_that_share_a_table_have_an_inbox_each(place: str, inbox: Inbox) -> None:
    other = Inbox(place, f"c-{uuid4().hex}")
    mine = {**EVENT, "consumer": uuid4().hex}
    assert inbox.once(mine, write)
    assert other.once(mine, write)


def test_a_handler_that_fails_leaves_neither_its_work_nor_the_note(inbox: Inbox) -> None:
    mine = {**EVENT, "consumer": uuid4().hex}

    def fail(cursor: Any, event: Mapping[str, Any]) -> None:
        write(cursor, event)
        raise ValueError("after the work")

    with pytest.raises(ValueError, match="after the work"):
        inbox.once(mine, fail)
    assert written(inbox, mine["consumer"]) == []
    assert inbox.once(mine, write)


def test_a_second_consumer_waits_for_the_first_and_drops_the_event(place: str, inbox: Inbox) -> None:
    name = f"c-{uuid4().hex}"
    one, two = Inbox(place, name), Inbox(place, name)
    mine = {**EVENT, "consumer": uuid4().hex}
    entered, leave, outcomes = threading.Event(), threading.Event(), []

    def slow(cursor: Any, event: Mapping[str, Any]) -> None:
        write(cursor, event)
        entered.set()
        leave.wait(10)

    first = threading.Thread(target=lambda: outcomes.append(one.once(mine, slow)))
    first.start()
    assert entered.wait(10)
    second = threading.Thread(target=lambda: outcomes.append(two.once(mine, write)))
    second.start()
    leave.set()
    for thread in (first, second):
        thread.join(10)
    assert outcomes == [True, False]
    assert written(inbox, mine["consumer"]) == ["e1"]


def test_what_was_parked_is_not_handled_and_is_shown_with_its_fault(inbox: Inbox) -> None:
    inbox.park(EVENT, "ValueError: no")
    assert not inbox.once(EVENT, write)
    assert inbox.parked(10) == [("ValueError: no", EVENT)]


def test_notes_are_forgotten_by_age_but_parked_events_stay(inbox: Inbox) -> None:
    mine = {**EVENT, "consumer": uuid4().hex}
    inbox.once(mine, write)
    inbox.park({**EVENT, "id": "parked"}, "no")
    assert inbox.prune(3600) == 0
    eventually(lambda: inbox.prune(0) > 0, within=5, what="a note is old")
    assert inbox.once(mine, write)
    assert len(inbox.parked(10)) == 1


def test_a_connection_that_broke_is_told_then_replaced(database: str) -> None:
    inbox = Inbox(database, f"c-{uuid4().hex}")
    inbox.prepare()
    inbox.prune(3600)
    with psycopg2.connect(database) as other:
        pid = inbox._connection.info.backend_pid
        other.cursor().execute("SELECT pg_terminate_backend(%s)", (pid,))
    with pytest.raises(Unavailable):
        inbox.once(EVENT, lambda *_: None)
    assert inbox.once(EVENT, lambda *_: None)
    with pytest.raises(Unavailable):
        Inbox("postgresql://nobody@127.0.0.1:1/none", "c").prepare()
