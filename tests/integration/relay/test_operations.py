"""What an operator does to sinks, by the commands: list, forget, replay, dead letters."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from operator import itemgetter

import psycopg2
import pytest
from click.testing import CliRunner

from app.cli import main
from app.db.engine import Database
from app.db.prune import Pruner
from app.messaging.streams import stream_of
from app.services.manage_tenants import create_platform_tenant
from tests.support.outbox import A, B
from tests.support.servers import surroundings

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def quantum(rig, tmp_path, monkeypatch):
    """Runs `quantum events …` as an operator would; returns what it printed, checks the exit code."""
    create_platform_tenant(Database(rig.urls.system), "Platform", "root@example.org", "a long password")
    for name, value in surroundings(tmp_path, rig.urls, rig.redis_url, EVENT_MAX_BYTES="1024").items():
        monkeypatch.setenv(name, value)
    # The platform's own first event is of no interest here.
    rig.system("DELETE FROM events")

    def run(*words, exits=0):
        done = CliRunner().invoke(main, ["events", *words, "--json"])
        assert done.exit_code == exits, done.output + done.stderr
        return json.loads(done.stdout) if done.stdout else json.loads(done.stderr)

    return run


def actions(rig):
    rows = rig.system("SELECT action, subject FROM audit_records ORDER BY created_at, id")
    return [row for row in rows if row[0].startswith(("sink", "events"))]


def test_the_list_tells_how_far_each_sink_is(rig, quantum):
    rig.emit(A, "runs/1", 1, 3)
    relay = rig.relay(sink=rig.sink(event_bytes=1024))
    relay.turn()
    rig.emit(A, "runs/1", 4, 4, {"text": "x" * 2000})
    relay.turn(), relay.turn()
    rig.emit(A, "runs/1", 5, 9)
    relay.outbox.number(10)
    rig.system("INSERT INTO relay_cursors (sink, shard) SELECT 'gone', generate_series(0, 7)")
    found = {one["sink"]: one for one in quantum("sinks")}
    assert (found["redis"]["behind"], found["redis"]["held"], found["redis"]["dead"]) == (5, 8, 1)
    assert found["redis"]["configured"]
    assert found["redis"]["oldest_s"] >= 0
    assert (found["gone"]["behind"], found["gone"]["held"], found["gone"]["configured"]) == (9, 0, False)


def test_an_abandoned_sink_holds_pruning_until_it_is_forgotten(rig, quantum):
    rig.emit(A, "runs/1", 1, 3)
    rig.relay().turn()
    rig.system("INSERT INTO relay_cursors (sink, shard) SELECT 'gone', generate_series(0, 7)")
    pruner = Pruner(Database(rig.urls.system, "system"))
    assert pruner.delete("events", 0, 100) == 0
    assert quantum("forget-sink", "gone", "--yes") == {"sink": "gone", "cursors": 8}
    assert pruner.delete("events", 0, 100) == 3
    quantum("forget-sink", "gone", "--yes", exits=4)
    assert actions(rig) == [("sink.forget", "sinks/gone")]


def test_a_sink_in_use_is_not_forgotten(rig, quantum):
    rig.emit(A, "runs/1", 1, 3)
    relay = rig.relay()
    relay.turn()
    quantum("forget-sink", "redis", "--yes", exits=7)
    quantum("forget-sink", "webhooks", "--yes", exits=7)
    relay.outbox.claim("other", "one", 60)
    quantum("forget-sink", "other", "--yes", exits=7)
    assert rig.system("SELECT count(*) FROM relay_cursors WHERE sink = 'other'") == [(8,)]
    assert actions(rig) == []


def test_past_events_go_out_again_with_their_ids_in_order(rig, quantum):
    for subject in ("runs/1", "runs/2"):
        rig.emit(A, subject, 1, 4)
    rig.emit(B, "runs/1", 1, 2)
    with psycopg2.connect(rig.urls.admin) as connection, connection.cursor() as cursor:
        change = "UPDATE events SET subject = 'intents/1', trace = %s WHERE subject = 'runs/2'"
        cursor.execute(change, (TRACE,))
    rig.relay().turn()
    before = rig.stream(A)
    assert [event["traceparent"][:35] for event in before if "traceparent" in event] == [TRACE[:35]] * 4
    rig.client.delete(stream_of(A), stream_of(B))
    narrow = ("--sink", "redis", "--tenant-id", str(A), "--type", "run.started")
    assert quantum("replay", *narrow, "--dry-run") == {"sink": "redis", "events": 8}
    assert rig.stream(A) == []
    assert quantum("replay", *narrow) == {"sink": "redis", "events": 8, "refused": []}
    by_id = itemgetter("id")
    assert sorted(rig.stream(A), key=by_id) == sorted(before, key=by_id), "the same envelopes, to the letter"
    assert rig.sequences(A) == {"runs/1": [1, 2, 3, 4], "intents/1": [1, 2, 3, 4]}
    assert rig.stream(B) == []
    assert actions(rig) == [("events.replay", "sinks/redis")]


def test_a_replay_is_narrowed_by_time_and_subject(rig, quantum):
    rig.emit(A, "runs/1", 1, 3)
    rig.emit(A, "runs/2", 1, 5)
    rig.relay().turn()
    with psycopg2.connect(rig.urls.admin) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE events SET created_at = created_at - interval '1 hour' WHERE seq = 1")
    moment = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()

    def count(*words: str) -> int:
        return quantum("replay", "--sink", "redis", "--dry-run", *words)["events"]

    assert count("--from", moment) == 6
    assert count("--to", moment) == 2
    assert count("--to", moment, "--subject", "runs/1") == 1
    quantum("replay", "--sink", "rabbitmq", exits=4)


def test_dead_letters_are_listed_replayed_given_up_and_kept_until_then(rig, quantum):
    rig.client.set(stream_of(A), "not a stream")
    rig.emit(A, "runs/1", 1, 2)
    rig.emit(A, "runs/2", 1, 1, {"text": "x" * 2000})
    relay = rig.relay(sink=rig.sink(event_bytes=1024), attempts=1)
    for _ in range(20):
        relay.turn()
    found = quantum("dead", "list")
    assert sorted((one["subject"], one["sequence"]) for one in found) == [
        ("runs/1", 1),
        ("runs/1", 2),
        ("runs/2", 1),
    ]
    assert all("WRONGTYPE" in one["error"] or "1024 bytes" in one["error"] for one in found)
    assert Pruner(Database(rig.urls.system, "system")).delete("events", 0, 100) == 0, (
        "a letter needs its event"
    )
    rig.client.delete(stream_of(A))
    first = next(one["id"] for one in found if (one["subject"], one["sequence"]) == ("runs/1", 1))
    assert quantum("dead", "replay", "--sink", "redis", "--event", first)["events"] == 1
    assert [event["id"] for event in rig.stream(A)] == [first]
    done = quantum("dead", "replay", "--sink", "redis", exits=1)
    assert (done["events"], [one["reason"] for one in done["refused"]]) == (1, ["larger than 1024 bytes"])
    (left,) = quantum("dead", "list")
    assert left["subject"] == "runs/2"
    which = CliRunner().invoke(main, ["events", "dead", "drop", "--sink", "redis", "--reason", "too large"])
    assert (which.exit_code, "--all" in which.stderr) == (2, True)
    quantum("dead", "drop", "--sink", "other", "--all", "--reason", "too large")
    drop = ("dead", "drop", "--sink", "redis", "--event", left["id"], "--reason", "too large")
    assert [quantum(*drop)["dropped"] for _ in range(2)] == [1, 0]
    assert quantum("dead", "list") == []
    assert Pruner(Database(rig.urls.system, "system")).delete("events", 0, 100) == 3, "nothing keeps them now"
    assert actions(rig) == [*[("events.replay_dead", "sinks/redis")] * 2, ("events.drop_dead", "sinks/redis")]
    ((detail,),) = rig.system("SELECT detail FROM audit_records WHERE action = 'events.drop_dead'")
    assert detail == {"events": [left["id"]], "reason": "too large"}
