"""Beside 10^6 runs no list of the API, no function of the hot path reads a big table from end to end."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import event

from app.db import admission, dead_letters, hot, intake, reads, recovery, runs
from app.db.ids import new_id
from tests.integration.db.test_list_plans import BULK, FILL, LISTS, START
from tests.support.servers import DatabaseUrls
from tests.support.spine import ACTOR, BROKER, Spine

pytestmark = pytest.mark.scale

RUNS = 1_000_000
BIG = frozenset({"intents", "intent_labels", "runs", "run_steps", "events", "audit_records", "step_attempts"})

WATCH = """
  ALTER DATABASE {name} SET session_preload_libraries = 'auto_explain';
  ALTER DATABASE {name} SET auto_explain.log_min_duration = 0;
  ALTER DATABASE {name} SET auto_explain.log_nested_statements = on;
  ALTER DATABASE {name} SET auto_explain.log_format = 'json';
  ALTER DATABASE {name} SET auto_explain.log_level = 'notice';
"""


class Notices(deque[str]):
    """What the server says; SQLAlchemy logs it and wants to clear it, but it is read here."""

    def __setitem__(self, index: Any, value: Any) -> None:
        """Keep what there is."""


class Watched(Spine):
    """A spine each of whose statements, those inside SQL functions included, tells its plan."""

    def __init__(self, urls: DatabaseUrls) -> None:
        super().__init__(urls)
        self.notices = Notices()

    def watch(self) -> None:
        """From now on connections are new ones that tell their plans."""
        [(name,)] = self.admin.call("SELECT current_database()")
        self.admin.call(WATCH.format(name=name))
        for database in (self.app, self.system):
            database.dispose()
            event.listen(database.engine, "connect", self._connected)

    def _connected(self, raw: Any, _record: Any) -> None:
        raw.notices = self.notices

    def scans(self) -> set[str]:
        """Return the big tables that were read from end to end since the last call."""
        found: set[str] = set()
        while self.notices:
            _, brace, plan = self.notices.popleft().partition("{")
            if brace:
                found |= _scanned(json.loads(brace + plan)["Plan"])
        return found & BIG


def _scanned(plan: dict[str, Any]) -> set[str]:
    own = {plan["Relation Name"]} if plan["Node Type"] == "Seq Scan" else set()
    return own.union(*(_scanned(inner) for inner in plan.get("Plans", ())))


@pytest.fixture(scope="module")
def million(database_urls: DatabaseUrls) -> Iterator[Watched]:
    """A spine whose tenant owns 900,000 runs beside a neighbour with 100,000."""
    spine = Watched(database_urls)
    values = {"big": spine.tenant, "small": spine.new_tenant(), "start": START, "runs": RUNS, "bulk": BULK}
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SET LOCAL session_replication_role = replica")  # a history, not a life: no triggers
        cursor.execute(FILL, values)
        cursor.execute("SELECT setval('event_positions', %s)", (RUNS,))
        session.commit()
    spine.watch()
    yield spine
    spine.close()


@pytest.mark.parametrize("name", LISTS)
def test_lists_read_no_big_table_whole(million: Watched, name: str) -> None:
    with million.app.tenant(million.tenant) as connection:
        LISTS[name](connection, million.tenant)
    assert million.notices, "the plans are told"
    assert million.scans() == set()


def test_lookups_read_no_big_table_whole(million: Watched) -> None:
    run = million.start({"a": []})
    million.scans()
    with million.app.reading(million.tenant) as reader:
        found = reads.find_run(reader, million.tenant, run)
        assert found is not None
        reads.first_steps(reader, million.tenant, run)
        reads.count_steps(reader, million.tenant, run)
        reads.find_step(reader, million.tenant, run, "a")
        reads.find_intent(reader, million.tenant, found["intent_id"])
        reads.graph(reader, million.tenant, found["plan_hash"])
    with million.app.tenant(million.tenant) as connection:
        dead_letters.find(connection, million.tenant, run, "a")
    assert million.scans() == set()


def test_the_life_of_a_run_reads_no_big_table_whole(million: Watched) -> None:
    tenant, app = million.tenant, million.app
    run = million.start({"a": [], "b": ["a"], "f": ["a"], "c": ["b", "f"]}, fans=["f"])
    million.perform(run, "a", output=1)
    claim = million.claim(run, "b")
    million.finish(run, "b", claim.tries, "retry", error={"code": "x"}, retry_in_s=0.0)
    recovery.due_waits(million.system, 500)
    million.expand(run, "f", [1, 2])
    epochs = million.send(run)
    hot.unmark_sent(app, tenant, run, dict(list(epochs.items())[:1]))
    million.send(run)
    for key in ("b", "f.0"):
        million.perform(run, key)
    million.perform(run, "f.1", "failed", error={"code": "x"})
    with app.tenant(tenant) as connection:
        runs.retry_run(connection, tenant, run, ACTOR, None)
        runs.pause_run(connection, tenant, run, ACTOR, None, "why")
        runs.resume_run(connection, tenant, run, ACTOR, None)
        runs.cancel_run(connection, tenant, run, ACTOR, None, "why")
    assert million.scans() == set()


def test_intake_reads_no_big_table_whole(million: Watched) -> None:
    plan_hash = million.plan({"a": []}, carriers={"a": 0})
    item = {
        "type": "core.echo",
        "type_version": 1,
        "name": "n",
        "mode": "job",
        "spec": {},
        "spec_hash": "h",
        "labels": {"team": "a"},
        "priority": 0,
        "workflow": "w",
        "workflow_version": 1,
        "plan_hash": plan_hash,
        "broker_epoch": BROKER,
    }
    items = [{**item, "intent_id": str(new_id()), "run_id": str(new_id())} for _ in range(100)]
    million.scans()
    (answer,) = intake.accept_intents(million.app, million.tenant, [intake.Request(ACTOR, items)])
    assert answer.verdict == "accepted"
    assert million.scans() == set()


def test_the_systems_work_reads_no_big_table_whole(million: Watched) -> None:
    recovery.unsent_runs(million.system, 500, 1)
    recovery.candidates_lost(million.system, 500)
    recovery.due_waits(million.system, 500)
    recovery.release_dead(million.system, 1.0, 4)
    admission.admit(million.system, 200, 8, 2, BROKER)
    admission.relist_waiting(million.system)
    admission.wake_keys(million.system)
    with million.system.system() as connection:
        connection.exec_driver_sql("SELECT sequence_events(1000)")
    assert million.scans() == set()
