"""Groups of requests over PostgreSQL: each is accepted, answered, refused by itself, whole or not at all."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg2
import pytest

from app.db.idempotency import Stored
from app.db.intake import Acceptance, Kept, Request, accept_intents
from app.domain.errors import Unavailable
from app.services.group_commit import GroupCommit
from tests.support.spine import ACTOR, Spine
from tests.support.waiting import eventually

ROWS = """
SELECT i.name, count(DISTINCT g.generation), count(DISTINCT r.id), count(DISTINCT s.key),
       count(DISTINCT e.id), count(DISTINCT a.id), min(a.request_id), min(e.actor ->> 'email')
FROM intents i
LEFT JOIN intent_generations g ON g.tenant_id = i.tenant_id AND g.intent_id = i.id
LEFT JOIN runs r ON r.tenant_id = i.tenant_id AND r.intent_id = i.id
LEFT JOIN run_steps s ON s.tenant_id = r.tenant_id AND s.run_id = r.id
LEFT JOIN events e ON e.tenant_id = i.tenant_id AND e.subject = 'intents/' || i.id
LEFT JOIN audit_records a ON a.tenant_id = i.tenant_id AND a.subject = 'intents/' || i.id
WHERE i.tenant_id = %s AND i.name LIKE %s GROUP BY i.id, i.name ORDER BY i.name
"""
IN_ANOTHER_PROCESS = """
import sys, uuid
from tests.integration.db.test_group_commit import of_names
from app.db.engine import Database
from app.db.intake import accept_intents
url, tenant, plan, *names = sys.argv[1:]
accept_intents(Database(url), uuid.UUID(tenant), of_names(plan, names))
"""


def of_names(plan: str, names: Sequence[str]) -> list[Request]:
    """Requests of these names: each of a person of its own, with its name for a key."""
    item = partial(Spine.item, None, plan)  # type: ignore[arg-type]  # an item needs nothing of a spine
    return [
        Request(
            {**ACTOR, "email": f"{name}@example.org", "request_id": f"req-{name}"},
            [item(name=name)],
            Kept("user", "POST /intents", name, Stored("h", 202, {"Location": name}, f"answer {name}")),
        )
        for name in names
    ]


@contextlib.contextmanager
def held(spine: Spine) -> Iterator[Callable[[int], bool]]:
    """Let nobody write an audit record; yields whether so many backends stand before it."""
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("LOCK TABLE audit_records IN SHARE MODE")

        def stand(number: int) -> bool:
            waiting = spine.admin.call(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'audit_records'::regclass"
                " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return bool(waiting[0][0] == number)

        yield stand
        session.rollback()


def rows(spine: Spine, prefix: str) -> list[Any]:
    return spine.admin.call(ROWS, (spine.tenant, f"{prefix}%"))


def whole(names: Sequence[str]) -> list[tuple[Any, ...]]:
    """What the rows of requests say that were accepted once, each as its own person."""
    return [(name, 1, 1, 2, 1, 1, f"req-{name}", f"{name}@example.org") for name in names]


def test_a_group_is_accepted_each_as_its_own_person(spine: Spine) -> None:
    names = [f"each-{n}" for n in range(5)]
    asked = of_names(spine.plan({"a": [], "b": ["a"]}), names)
    made = accept_intents(spine.app, spine.tenant, asked)
    assert made == [Acceptance("accepted")] * 5
    assert rows(spine, "each-") == whole(names)
    again = accept_intents(spine.app, spine.tenant, [*asked[:2], *of_names("none", []), asked[4]])
    assert [(one.verdict, one.stored and one.stored.body) for one in again] == [
        ("answered", f"answer {name}") for name in ("each-0", "each-1", "each-4")
    ]
    assert rows(spine, "each-") == whole(names)


def test_an_answered_request_keeps_no_other_out(spine: Spine) -> None:
    plan = spine.plan({"a": [], "b": ["a"]})
    accept_intents(spine.app, spine.tenant, of_names(plan, ["mixed-1"]))
    made = accept_intents(spine.app, spine.tenant, of_names(plan, ["mixed-0", "mixed-1", "mixed-2"]))
    assert [one.verdict for one in made] == ["accepted", "answered", "accepted"]
    assert rows(spine, "mixed-") == whole(["mixed-0", "mixed-1", "mixed-2"])


def test_only_the_poisoned_one_of_a_group_fails(spine: Spine) -> None:
    plan, commit = spine.plan({"a": [], "b": ["a"]}), GroupCommit(partial(accept_intents, spine.app))
    good, [bad] = of_names(plan, [f"good-{n}" for n in range(5)]), of_names("no such plan", ["poison"])
    with ThreadPoolExecutor(6) as pool:
        with held(spine) as stand:
            first = pool.submit(commit.accept, spine.tenant, good[0])
            eventually(partial(stand, 1), within=10)
            others = [pool.submit(commit.accept, spine.tenant, each) for each in (bad, *good[1:])]
        assert first.result(30).verdict == "accepted"
        assert {each.result(30).verdict for each in others[1:]} == {"accepted"}
        with pytest.raises(psycopg2.DatabaseError, match="plan without steps"):
            others[0].result(30)
    assert rows(spine, "good-") == whole([f"good-{n}" for n in range(5)])
    assert rows(spine, "poison") == []
    kept = "SELECT count(*) FROM idempotency_keys WHERE tenant_id = %s AND key = 'poison'"
    assert spine.admin.call(kept, (spine.tenant,)) == [(0,)]


def test_a_lost_connection_is_told_to_all_who_may_repeat(spine: Spine) -> None:
    names = [f"lost-{n}" for n in range(4)]
    plan = spine.plan({"a": [], "b": ["a"]})
    with held(spine) as stand, ThreadPoolExecutor(1) as pool:
        group = pool.submit(accept_intents, spine.app, spine.tenant, of_names(plan, names))
        eventually(partial(stand, 1), within=10)
        spine.admin.call(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
            " AND relation = 'audit_records'::regclass"
        )
        with pytest.raises(Unavailable):
            group.result(30)
    assert rows(spine, "lost-") == []
    repeated(spine, plan, names)
    assert rows(spine, "lost-") == whole(names)


def test_a_process_killed_within_a_group_leaves_answers_or_free_keys(spine: Spine) -> None:
    names = [f"killed-{n}" for n in range(4)]
    plan = spine.plan({"a": [], "b": ["a"]})
    with held(spine) as stand:
        arguments = (spine.urls.app, str(spine.tenant), plan, *names)
        process = subprocess.Popen([sys.executable, "-c", IN_ANOTHER_PROCESS, *arguments])
        eventually(partial(stand, 1), within=30)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    repeated(spine, plan, names)
    assert rows(spine, "killed-") == whole(names)


def repeated(spine: Spine, plan: str, names: Sequence[str]) -> None:
    """Send the requests again, at the same moment, until none of them is told to wait."""
    commit, barrier = GroupCommit(partial(accept_intents, spine.app)), threading.Barrier(len(names))

    def send(request: Request) -> None:
        barrier.wait(10)
        eventually(lambda: commit.accept(spine.tenant, request).verdict != "busy", within=20)

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(send, of_names(plan, names)))
