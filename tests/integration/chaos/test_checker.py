"""The checker of the chaos runs sees each kind of harm in rows, ledger, stream."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
import redis
from psycopg2.extras import RealDictCursor

from app.messaging.streams import stream_of
from tests.chaos.checker import examine
from tests.chaos.load import Accepted
from tests.chaos.shapes import SHAPES
from tests.support.ledger import Ledger
from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine

CHAIN = next(shape for shape in SHAPES if shape.name == "chain")
GRAPH = {"a": [], "b": ["a"]}
COPY = "INSERT INTO {0} SELECT (jsonb_populate_record(t, %s::jsonb)).* FROM {0} t WHERE t.key = %s"


@dataclass
class World:
    """A platform whose two-step run went well: rows, ledger, stream agree."""

    spine: Spine
    client: redis.Redis
    path: Path
    killed_children: set[int] = field(default_factory=set)
    accepted: list[Accepted] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.forced("TRUNCATE tenants, events, audit_records CASCADE")
        self.spine.tenant = self.spine.new_tenant()
        self.run = self.spine.start(GRAPH)
        for key in GRAPH:
            self.performed(key)
        self.spine.admin.call("SELECT sequence_events(1000)")
        intent = UUID(self.spine.run(self.run)["intent_id"])
        self.accepted = [Accepted(self.spine.tenant, intent, self.run, CHAIN.type)]
        self.fill_stream()

    @property
    def fleet(self) -> Any:
        return SimpleNamespace(rig=SimpleNamespace(ledger=Ledger(self.path)), ended=set())

    def redis(self) -> redis.Redis:
        return self.client

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        with closing(psycopg2.connect(self.spine.urls.admin)) as connection:
            connection.autocommit = True
            with connection.cursor(cursor_factory=RealDictCursor) as cursor:
                cursor.execute(statement, values or None)
                return [dict(row) for row in cursor.fetchall()] if cursor.description else []

    def forced(self, statement: str, *values: Any) -> None:
        """Change rows behind every trigger."""
        self.rows(f"SET session_replication_role = replica; {statement}", *values)

    def traced(self, event: str, key: str) -> None:
        Ledger(self.path).write(event, str(self.run), key, f"{self.run}:{key}:0", 1)

    def performed(self, key: str) -> None:
        tries = self.spine.claim(self.run, key).tries
        self.traced("begin", key)
        self.traced("end", key)
        self.spine.finish(self.run, key, tries)

    def fill_stream(self, but: int = 0) -> None:
        for row in self.rows("SELECT subject, seq FROM events ORDER BY position"):
            if row["seq"] != but:
                event = json.dumps({"subject": row["subject"], "sequence": str(row["seq"])})
                self.client.xadd(stream_of(self.spine.tenant), {"event": event})

    def kinds(self) -> Counter[str]:
        return Counter(finding.kind for finding in examine(self, self.accepted))  # type: ignore[arg-type]  # a scene


@pytest.fixture(scope="module")
def spine(database_urls: DatabaseUrls) -> Spine:
    return Spine(database_urls)


@pytest.fixture
def world(spine: Spine, redis_url: str, tmp_path: Path) -> Iterator[World]:
    with closing(redis.Redis.from_url(redis_url)) as client:
        client.flushall()
        yield World(spine, client, tmp_path / "ledger.jsonl")


def open_run(world: World) -> None:
    world.forced("UPDATE runs SET state = 'running'")


def wrong_end(world: World) -> None:
    world.forced("UPDATE runs SET state = 'failed'")


def missing_run(world: World) -> None:
    world.accepted.append(replace(world.accepted[0], run=uuid4()))


def unknown_run(world: World) -> None:
    world.accepted.clear()


def open_step(world: World) -> None:
    world.forced("UPDATE run_steps SET state = 'running' WHERE key = 'b'")


def childless_step(world: World) -> None:
    world.forced("UPDATE run_steps SET operation = 'workflow' WHERE key = 'b'")


def leaked_count(world: World) -> None:
    world.forced("UPDATE runs SET open_steps = 1")


def second_invocation(world: World) -> None:
    world.traced("begin", "b")


def early_join(world: World) -> None:
    lines = world.path.read_text().splitlines()
    world.path.write_text("\n".join(lines[2:] + lines[:2]) + "\n")


def second_record(world: World) -> None:
    world.forced(
        "INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state)"
        " SELECT tenant_id, run_id, key, 2, 2, 0, 'succeeded' FROM step_attempts WHERE key = 'b'"
    )


def taken_from_the_living(world: World) -> None:
    world.forced("UPDATE step_attempts SET state = 'killed', pid = 1 WHERE key = 'b'")
    world.forced(
        "INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state)"
        " SELECT tenant_id, run_id, key, 2, 1, 0, 'succeeded' FROM step_attempts WHERE key = 'b'"
    )


def lost_event(world: World) -> None:
    world.forced("DELETE FROM events WHERE subject LIKE 'runs/%%' AND seq = 1")


def unordered_event(world: World) -> None:
    world.forced("UPDATE events SET position = position + 1000 WHERE subject LIKE 'runs/%%' AND seq = 1")


def lost_in_the_stream(world: World) -> None:
    world.client.flushall()
    world.fill_stream(but=2)


def unaudited(world: World) -> None:
    world.forced("DELETE FROM audit_records WHERE action = 'intent.create'")


def left_timer(world: World) -> None:
    world.forced("UPDATE runs SET due_at = now()")


def left_place_under_a_key(world: World) -> None:
    world.forced("INSERT INTO concurrency_keys (tenant_id, key) SELECT id, 'k' FROM tenants")
    world.forced("UPDATE runs SET concurrency_key = 'k', key_limit = 1, state = 'running'")


def exceeded_key(world: World) -> None:
    world.forced("UPDATE runs SET concurrency_key = 'k', key_limit = 0")


def exceeded_limit(world: World) -> None:
    world.forced("INSERT INTO tenant_limits (tenant_id, max_running_runs) SELECT id, 0 FROM tenants")


def exceeded_steps(world: World) -> None:
    world.forced("INSERT INTO tenant_limits (tenant_id, max_running_steps) SELECT id, 0 FROM tenants")


def undone_in_order_of_completion(world: World) -> None:
    for key in GRAPH:
        undo = json.dumps({"key": f"undo-{key}", "base": f"undo-{key}", "undoes": key})
        world.forced(COPY.format("run_steps"), undo, key)
        world.forced(COPY.format("step_attempts"), undo, key)


def forgotten_compensation(world: World) -> None:
    undo = json.dumps({"base": "undo-a", "undoes": "a"})
    world.forced(COPY.replace("t.key", "t.base").format("plan_steps"), undo, "a")
    world.forced("UPDATE runs SET compensation = 'complete'")


def test_a_whole_world_has_no_finding(world: World) -> None:
    assert world.kinds() == {}


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (open_run, "lost"),
        (wrong_end, "lost"),
        (missing_run, "lost"),
        (unknown_run, "duplicated"),
        (childless_step, "lost"),
        (open_step, "leaked"),
        (leaked_count, "leaked"),
        (second_invocation, "duplicated"),
        (early_join, "early"),
        (second_record, "duplicated"),
        (taken_from_the_living, "duplicated"),
        (lost_event, "events"),
        (unordered_event, "events"),
        (lost_in_the_stream, "events"),
        (unaudited, "audit"),
        (left_timer, "leaked"),
        (left_place_under_a_key, "leaked"),
        (exceeded_key, "limits"),
        (exceeded_limit, "limits"),
        (exceeded_steps, "limits"),
        (undone_in_order_of_completion, "early"),
        (forgotten_compensation, "lost"),
    ],
)
def test_each_harm_is_found(world: World, harm: Callable[[World], None], kind: str) -> None:
    harm(world)
    assert kind in world.kinds(), world.kinds()
