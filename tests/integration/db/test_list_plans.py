"""Every list of the API, as the app role, reads few pages while one tenant owns 90 % of 100,000 runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, text

from app.db import (
    artifacts,
    bulk,
    caps,
    dead_letters,
    deliveries,
    firings,
    nesting,
    reads,
    recovery,
    schedules,
    step_logs,
    timeline,
    triggers,
    webhooks,
)
from app.domain.paging import PageRequest, encode_cursor
from tests.support.database import cloned_database
from tests.support.servers import Cluster, DatabaseUrls
from tests.support.spine import Spine

RUNS = 100_000
SMALL_SHARE = 10  # one run in ten is not the big tenant's
BULK = UUID(int=7)
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGES = 600  # blocks of 8 kB, a dozen a row; a scan of the runs alone would read some 5,000
# The ids of a window reach five minutes to both sides for the clocks' sake: 600 candidates, four pages each.
ALLOWED = {"intents by label with time": 3000}
Read = Callable[[Connection, UUID], Any]

# Ids are UUIDv7, one a second. Twenty runs of the big tenant failed; none of them has the type that the list
# "by state with type" asks for.
FILL = f"""
  CREATE TEMP TABLE made AS
    SELECT n, CASE WHEN mod(n, {SMALL_SHARE}) = 0 THEN %(small)s::uuid ELSE %(big)s::uuid END AS tenant_id,
           (lpad(to_hex((extract(epoch FROM %(start)s::timestamptz) * 1000)::bigint + n * 1000), 12, '0')
             || '70008000' || lpad(to_hex(n), 12, '0'))::uuid AS id,
           %(start)s::timestamptz + n * interval '1 s' AS at,
           CASE WHEN mod(n, 5000) < 2 THEN 'rare.type' ELSE 'core.echo' END AS type,
           CASE WHEN mod(n, 5000) < 2 THEN 'failed' ELSE 'succeeded' END AS state
    FROM generate_series(1, %(runs)s) n;
  INSERT INTO intents (tenant_id, id, type_name, type_version, mode, phase, created_at)
    SELECT tenant_id, id, type, 1, 'job', state, at FROM made;
  INSERT INTO intent_labels SELECT tenant_id, id, 'team', state FROM made;
  INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name,
                    workflow_version, state, open_steps, created_at)
    SELECT tenant_id, id, id, 1, type, 'h', 'w', 1, state, 0, at FROM made;
  INSERT INTO events (tenant_id, subject, seq, type, data, actor, shard, created_at, position)
    SELECT tenant_id, 'runs/' || id, 1, 'io.quantum.run.succeeded', '{{}}', '{{}}', mod(n, 8), at, n
    FROM made;
  INSERT INTO audit_records (tenant_id, id, actor, action, subject, created_at)
    SELECT tenant_id, id, '{{}}', 'run.' || state, 'runs/' || id, at FROM made;
  INSERT INTO run_steps (tenant_id, run_id, key, base, seq, state, needs_left, successors, is_fan, operation,
                         queue, continue_on_failure, finished_at)
    SELECT tenant_id, id, 'a', 'a', 0, state, 0, '{{}}', false, 'core.echo', 'default', false, at FROM made;
  INSERT INTO bulk_actions (tenant_id, id, action, filter, rate, created_by, created_at, state, finished_at)
    SELECT tenant_id, id, 'retry', '{{}}', 1, '{{}}', at, 'finished', at FROM made WHERE mod(n, 20) < 10;
  INSERT INTO bulk_action_items (tenant_id, bulk_id, n, run_id, version, outcome)
    SELECT tenant_id, %(bulk)s, n, id, 1, CASE WHEN mod(n, 5000) < 2 THEN 'error' ELSE 'ok' END
    FROM made WHERE tenant_id = %(big)s;
  INSERT INTO schedules (tenant_id, id, name, type_name, spec, every_s, overlap, catch_up, catch_up_window_s,
                         state)
    SELECT tenant_id, id, n::text, type, '{{}}', 60, 'skip', 'none', 1, 'paused' FROM made WHERE n < 10000;
  INSERT INTO schedule_firings (tenant_id, schedule_id, id, scheduled_at, cause, outcome)
    SELECT tenant_id, tenant_id, id, at, 'time', 'skipped' FROM made WHERE n < 30000;
  INSERT INTO webhooks (tenant_id, id, name, url, types)
    SELECT tenant_id, id, n::text, 'u', '{{*}}' FROM made WHERE n < 100;
  INSERT INTO webhooks (tenant_id, id, name, url, types) VALUES (%(big)s, %(big)s, 'x', 'u', '{{*}}');
  INSERT INTO webhook_queues (tenant_id, webhook_id) SELECT tenant_id, id FROM webhooks;
  INSERT INTO webhook_deliveries (tenant_id, webhook_id, event_id, subject, seq, type, data, occurred_at,
                                  position, state, finished_at, ready_at)
    SELECT tenant_id, %(big)s, id, 'runs/' || id, 1, 't', '{{}}', at, n, s.state,
           CASE WHEN s.state <> 'pending' THEN at END, CASE WHEN s.state = 'pending' THEN at END
    FROM made, LATERAL (SELECT CASE WHEN mod(n, 5000) < 2 THEN 'dead' WHEN mod(n, 5000) < 4 THEN 'pending'
                                    ELSE 'delivered' END AS state) s WHERE tenant_id = %(big)s;
  ANALYZE webhooks, webhook_queues, webhook_deliveries;
  INSERT INTO triggers (tenant_id, id, name, source, types, type_name, spec)
    SELECT tenant_id, id, 't' || n, 'events', '{{*}}', 't', '{{}}' FROM made WHERE n < 200;
  INSERT INTO triggers (tenant_id, id, name, source, types, type_name, spec)
    VALUES (%(big)s, %(big)s, 'x', 'events', '{{*}}', 't', '{{}}');
  INSERT INTO trigger_firings (tenant_id, trigger_id, event_id, id, type, subject, outcome, depth,
                               origin, intent_id, run_id)
    SELECT tenant_id, %(big)s, id::text, id, 't', 'x/1', 'fired', 1, id::text, id, id FROM made
    WHERE tenant_id = %(big)s;
  ANALYZE triggers, trigger_firings;
  ANALYZE schedules, schedule_firings, bulk_actions, bulk_action_items;
  INSERT INTO step_logs (tenant_id, run_id, key, tries, last, lines, at)
    SELECT tenant_id, id, 'a', 1, 1, '[{{"n": 1}}]', at FROM made WHERE mod(n, 4) = 0;
  INSERT INTO step_logs (tenant_id, run_id, key, tries, last, lines)
    SELECT %(big)s, %(big)s, 'a', tries, last * 40, (SELECT jsonb_agg(jsonb_build_object('n', i))
      FROM generate_series(last * 40 - 39, last * 40) i)
    FROM generate_series(1, 60) tries, generate_series(1, 50) last;
  INSERT INTO artifacts (tenant_id, sha256, bytes)
    SELECT tenant_id, encode(sha256(id::text::bytea), 'hex'), 1 FROM made WHERE mod(n, 4) = 0;
  INSERT INTO step_artifacts (tenant_id, run_id, key, tries, sha256, content_type)
    SELECT tenant_id, id, 'a', 0, encode(sha256(id::text::bytea), 'hex'), 'a/b' FROM made WHERE mod(n, 4) = 0;
  ANALYZE artifacts, step_artifacts;
  ANALYZE intents, intent_labels, runs, run_steps, events, audit_records, step_logs;
"""


@pytest.fixture(scope="module")
def crowd(database_urls: DatabaseUrls) -> Iterator[Spine]:
    """A spine whose tenant owns 90,000 runs beside a neighbour with 10,000."""
    spine = Spine(database_urls)
    values = {"big": spine.tenant, "small": spine.new_tenant(), "start": START, "runs": RUNS, "bulk": BULK}
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # a history, not a life: no triggers
        cursor.execute(FILL, values)
        session.commit()
    yield spine
    spine.close()


FIRST = PageRequest(50)
DEEP = PageRequest(
    50, encode_cursor(UUID(f"{int(START.timestamp() * 1000) + 20_000_000:012x}70008000" + "0" * 12))
)
WINDOW = {
    "created_after": START + timedelta(seconds=40_000),
    "created_before": START + timedelta(seconds=40_030),
}
LISTS: dict[str, Read] = {
    "intents": lambda c, t: reads.page_intents(c, t, FIRST, {}),
    "intents, deep": lambda c, t: reads.page_intents(c, t, DEEP, {}),
    "intents by phase": lambda c, t: reads.page_intents(c, t, FIRST, {"phase": "failed"}),
    "intents by type": lambda c, t: reads.page_intents(c, t, FIRST, {"type": "rare.type"}),
    "intents by rare label": lambda c, t: reads.page_intents(c, t, FIRST, {"label": "team=failed"}),
    "intents by usual label": lambda c, t: reads.page_intents(c, t, DEEP, {"label": "team=succeeded"}),
    "intents by label with time": lambda c, t: reads.page_intents(
        c, t, FIRST, {"label": "team=succeeded", **WINDOW}
    ),
    "intents by label's key": lambda c, t: reads.page_intents(c, t, FIRST, {"label": "team"}),
    "intents by time": lambda c, t: reads.page_intents(c, t, FIRST, WINDOW),
    "runs": lambda c, t: reads.page_runs(c, t, FIRST, {}),
    "runs, deep": lambda c, t: reads.page_runs(c, t, DEEP, {}),
    "runs by state": lambda c, t: reads.page_runs(c, t, FIRST, {"state": "failed"}),
    "runs by type": lambda c, t: reads.page_runs(c, t, FIRST, {"type": "rare.type"}),
    "runs by state with type": lambda c, t: reads.page_runs(
        c, t, FIRST, {"state": "failed", "type": "core.echo"}
    ),
    "runs by time": lambda c, t: reads.page_runs(c, t, FIRST, WINDOW),
    "runs of an intent": lambda c, t: reads.page_runs(c, t, FIRST, {"intent_id": UUID(int=1)}),
    "runs of a run": lambda c, t: reads.page_runs(c, t, FIRST, {"parent": UUID(int=1)}),
    "children of a run": lambda c, t: nesting.due_of(c, t, UUID(int=1)),
    "runs by rare label": lambda c, t: reads.page_runs(c, t, FIRST, {"label": "team=failed"}),
    "runs by usual label, deep": lambda c, t: reads.page_runs(c, t, DEEP, {"label": "team=succeeded"}),
    "bulk preview": lambda c, t: bulk.preview(c, t, "retry", {"type": "rare.type"}),
    "bulk preview by error": lambda c, t: bulk.preview(c, t, "retry", {"error_code": "x"}),
    "bulk preview of dead letters": lambda c, t: bulk.preview(c, t, "replay-dead-letters", {}),
    "bulk actions": lambda c, t: bulk.page(c, t, FIRST, None),
    "bulk actions by state": lambda c, t: bulk.page(c, t, FIRST, "running"),
    "bulk items": lambda c, t: bulk.page_items(c, t, BULK, FIRST, None),
    "bulk items by outcome": lambda c, t: bulk.page_items(c, t, BULK, FIRST, "error"),
    "bulk items, pending": lambda c, t: bulk.pending(c, t, BULK, 100),
    "timeline": lambda c, t: timeline.page(c, t, UUID(int=1), FIRST),
    "dead letters": lambda c, t: dead_letters.page(c, t, FIRST),
    "events": lambda c, t: reads.events_after(c, t, RUNS - 300, 100, None, None),
    "events of a subject": lambda c, t: reads.events_after(c, t, 0, 100, None, "runs/none"),
    "events of a rare type": lambda c, t: reads.events_after(c, t, 0, 100, "none", None),
    "schedules": lambda c, t: schedules.page(c, t, FIRST, None),
    "schedules by state": lambda c, t: schedules.page(c, t, FIRST, "paused"),
    "firings": lambda c, t: firings.page(c, t, t, FIRST),
    "planned firings, counted": lambda c, t: caps.count(c, t, "planned_firings"),
    "open bulk actions, counted": lambda c, t: caps.count(c, t, "bulk_actions"),
    "triggers": lambda c, t: triggers.page(c, t, FIRST, None),
    "firings of a trigger": lambda c, t: triggers.page_firings(c, t, t, DEEP),
    "a decided event": lambda c, t: triggers.known(c, t, t, "x"),
    "webhooks": lambda c, t: webhooks.page(c, t, FIRST, None),
    "deliveries": lambda c, t: deliveries.page(c, t, t, FIRST, None),
    "deliveries, delivered": lambda c, t: deliveries.page(c, t, t, DEEP, "delivered"),
    "deliveries, dead": lambda c, t: deliveries.page(c, t, t, FIRST, "dead"),
    "deliveries, pending": lambda c, t: deliveries.page(c, t, t, FIRST, "pending"),
    "dead letters of a webhook": lambda c, t: deliveries.dead(c, t, t, 100),
    "next deliveries": lambda c, t: c.execute(
        text(f"SELECT * FROM webhook_batch('{t}', '{t}', '{{}}', 50, 20)")
    ),
    "turn of a webhook": lambda c, t: c.execute(text(f"SELECT webhook_due('{t}', '{t}')")),
    "log of a step": lambda c, t: step_logs.lines_after(c, t, t, "a", (0, 0), 200),
    "log of a step, deep": lambda c, t: step_logs.lines_after(c, t, t, "a", (59, 1990), 200),
    "artifact of a step": lambda c, t: artifacts.held_by(c, t, t, "a", "0" * 64),
    "holds of an artifact": lambda c, t: c.execute(text(f"SELECT artifact_held('{t}', repeat('0', 64))")),
    "log of a try": lambda c, t: step_logs.lines_after(c, t, t, "a", (0, 0), 200, 30),
    "audit": lambda c, t: reads.page_audit(c, t, FIRST, {}),
    "audit by action": lambda c, t: reads.page_audit(c, t, FIRST, {"action": "run.failed"}),
    "audit by subject": lambda c, t: reads.page_audit(c, t, FIRST, {"subject": "runs/none"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_list_reads_few_pages(crowd: Spine, name: str) -> None:
    statements: list[tuple[str, Any]] = []

    def remember(_c: Any, _k: Any, statement: str, parameters: Any, _x: Any, _m: Any) -> None:
        statements.append((statement, parameters))

    with crowd.app.tenant(crowd.tenant) as connection:
        event.listen(connection, "before_cursor_execute", remember)
        LISTS[name](connection, crowd.tenant)
        event.remove(connection, "before_cursor_execute", remember)
        for statement, parameters in statements:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            ((found,),) = connection.exec_driver_sql(explain, parameters)
            plan = found[0]["Plan"]
            read = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            assert read <= ALLOWED.get(name, PAGES), f"{name}: {read} pages\n{statement}\n{plan}"


def test_work_lists_of_the_system_do_not_read_history(crowd: Spine) -> None:
    for call in (
        lambda: recovery.due_waits(crowd.system, 500),
        lambda: recovery.unsent_runs(crowd.system, 500, 1),
        lambda: recovery.candidates_lost(crowd.system, 500),
        lambda: nesting.children_due(crowd.system, 500),
        lambda: artifacts.unchecked(crowd.system, 3600, 500),
    ):
        assert call() == []
    for condition in (
        "state || '' = 'ready' AND sent_at IS NULL AND ready_at < now()",
        "state || '' = 'waiting' AND not_before <= now()",
        "state || '' = 'running' AND lease_boot = gen_random_uuid()",
        "state || '' = 'waiting' AND operation = 'workflow' AND NOT is_fan",
    ):
        plan = crowd.system.call(f"EXPLAIN SELECT 1 FROM run_steps WHERE {condition}")
        assert any("Index" in line for (line,) in plan), plan
    plan = crowd.system.call(f"EXPLAIN {nesting.ALL_DUE}", (500,))
    assert not any("Seq Scan" in line for (line,) in plan), plan


# A stable call stands for a parameter of a kept plan: the planner does not know its value.
ID = "current_setting('app.tenant_id')::uuid"
LOOKUPS = {
    "runs_pkey": f"UPDATE runs SET open_steps = 0 WHERE tenant_id = {ID} AND id = {ID}",
    "intents_pkey": f"UPDATE intents SET version = 2 WHERE tenant_id = {ID} AND id = {ID}",
    "run_steps_pkey": f"UPDATE run_steps SET tries = 1 WHERE tenant_id = {ID} AND run_id = {ID} AND key = 'a'"
    " AND state = 'ready' AND dispatch_epoch = 1 AND sent_at IS NOT NULL",
    "plan_steps_pkey": "UPDATE run_steps t SET tries = 1 FROM runs u, plan_steps p"
    f" WHERE t.tenant_id = {ID} AND t.run_id = {ID} AND t.key = 'a' AND t.state = 'ready'"
    f" AND t.dispatch_epoch = 1 AND t.sent_at IS NOT NULL AND u.tenant_id = {ID} AND u.id = {ID}"
    " AND u.state <> 'queued'"
    f" AND p.tenant_id = {ID} AND p.plan_hash = u.plan_hash AND p.base = t.base RETURNING p.definition",
    "events_pkey": f"SELECT 1 FROM events WHERE tenant_id = {ID} AND subject = 'x/1' AND seq = 1",
}


@pytest.fixture(scope="module")
def untouched(cluster: Cluster) -> Iterator[Spine]:
    """A spine whose database nobody has filled."""
    with cloned_database(cluster) as urls, closing(Spine(urls)) as spine:
        yield spine


@pytest.mark.parametrize("index", LOOKUPS)
def test_lookups_go_by_primary_key_from_the_first_row(untouched: Spine, index: str) -> None:
    # A worker keeps the plans it makes on a new database: a wrong index there would cost it a scan a step.
    with untouched.app.tenant(untouched.tenant) as connection:
        plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {LOOKUPS[index]}"))
    assert f"using {index}" in plan, plan
    used = set(re.findall(r"using (\w+)", plan))
    assert all(name.endswith("_pkey") for name in used), plan
