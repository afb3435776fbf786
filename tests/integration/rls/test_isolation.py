"""No tenant, no rows: every relation of the catalogue is decided, every tenant relation is closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from psycopg2.extensions import cursor as Cursor

from tests.support.servers import DatabaseUrls
from tests.support.spine import BROKER, Spine

TENANT = (
    "users",
    "user_roles",
    "refresh_families",
    "modules",
    "intent_types",
    "workflows",
    "plans",
    "plan_steps",
    "intents",
    "intent_generations",
    "intent_labels",
    "runs",
    "run_steps",
    "run_signals",
    "step_attempts",
    "artifacts",
    "step_artifacts",
    "step_results",
    "step_progress",
    "step_logs",
    "events",
    "dead_events",
    "event_floors",
    "audit_records",
    "audit_seals",
    "idempotency_keys",
    "tenant_keys",
    "secrets",
    "schedules",
    "schedule_firings",
    "tenant_limits",
    "fair_queues",
    "concurrency_keys",
    "bulk_actions",
    "bulk_action_items",
    "dedicated_pools",
    "triggers",
    "trigger_secrets",
    "trigger_firings",
    "webhooks",
    "webhook_secrets",
    "webhook_queues",
    "webhook_deliveries",
    "webhook_attempts",
    "flag_overrides",
    "usage_days",
    "usage_latencies",
    "usage_runs",
)
# Read by the app role as its own row only; written by the system role.
OWN_ROW = {"tenants": "id", "holds": "tenant_id"}
GLOBAL = (
    "feature_flags",
    "roles",
    "sign_in_failures",
    "workers",
    "queue_watermarks",
    "platform_clock",
    "beat_jobs",
    "leases",
    "backups",
    "relay_cursors",
    "pools",
    "worker_orders",
    "maintenance",
    "log_levels",
    "processes",
    "schema_floor",
    "alembic_version",
)
DEFINERS = {
    "resolve_tenant(p_slug text)",
    "foreign_pools(p_tenant uuid, p_pools text[])",
    "queue_slots()",
}
APP_MAY_SEE_GLOBAL = {"feature_flags", "log_levels", "maintenance", "roles", "sign_in_failures"}
BIRTH = {
    "intents": '{"phase": "pending"}',
    "runs": '{"state": "queued"}',
    "run_steps": '{"state": "pending"}',
    "bulk_actions": '{"state": "running"}',
}
FILL = {
    "users": "(tenant_id, id, email, password_hash) VALUES ({t}, {t}, 'a@b', 'x')",
    "user_roles": "(tenant_id, user_id, role) VALUES ({t}, {t}, 'viewer')",
    "refresh_families": "(tenant_id, id, user_id, current_hash, expires_at)"
    " VALUES ({t}, {t}, {t}, 'h', now())",
    "modules": "(tenant_id, id, name, version, manifest) VALUES ({t}, {t}, 'm', '1', '{{}}')",
    "intent_types": "VALUES ({t}, 'n', 1, 'job', '', '{{}}', 'w', 1, NULL, now())",
    "workflows": "(tenant_id, id, name, version, document, plan_hash) VALUES ({t}, {t}, 'w', 1, '{{}}', 'h')",
    "run_signals": "(tenant_id, run_id, seq, name, sent_by)"
    " SELECT tenant_id, id, 1, 's', '{{}}' FROM runs WHERE tenant_id = {t}",
    "step_progress": "(tenant_id, run_id, key, tries)"
    " SELECT tenant_id, run_id, key, 1 FROM run_steps WHERE tenant_id = {t}",
    "artifacts": "(tenant_id, sha256, bytes) VALUES ({t}, repeat('0', 64), 1)",
    "step_artifacts": "(tenant_id, run_id, key, tries, sha256, content_type)"
    " SELECT tenant_id, run_id, key, 1, repeat('0', 64), 'a/b' FROM run_steps WHERE tenant_id = {t}",
    "step_results": "(tenant_id, input_hash, run_id, key, tries, expires_at)"
    " SELECT tenant_id, 'h', run_id, key, 1, now() FROM run_steps WHERE tenant_id = {t}",
    "step_logs": "(tenant_id, run_id, key, tries, last, lines)"
    " SELECT tenant_id, run_id, key, 1, 1, '[]' FROM run_steps WHERE tenant_id = {t}",
    "dead_events": "VALUES ({t}, 's', 'x/1', 1, {t}, 1, 1, 'e', now())",
    "event_floors": "VALUES ({t}, 1)",
    "audit_seals": "(tenant_id, seq, records, digest, mac, key_id) VALUES ({t}, 1, 1, 'd', 'm', 'k')",
    "idempotency_keys": "(tenant_id, actor, route, key, request_hash, status, expires_at)"
    " VALUES ({t}, 'a', 'r', 'k', 'h', 200, now())",
    "tenant_keys": "(tenant_id, wrapped_key, nonce, kek_id) VALUES ({t}, 'w', 'n', 'k')",
    "schedules": "(tenant_id, id, name, type_name, spec, every_s, overlap, catch_up, catch_up_window_s,"
    " next_at, due_at) VALUES ({t}, {t}, 'n', 't', '{{}}', 60, 'skip', 'none', 1, now(), now())",
    "schedule_firings": "(tenant_id, schedule_id, scheduled_at, cause, outcome)"
    " VALUES ({t}, {t}, now(), 'time', 'skipped')",
    "secrets": "(tenant_id, name, nonce, ciphertext) VALUES ({t}, 'S', 'n', 'c')",
    "flag_overrides": "(tenant_id, name, enabled, reason) VALUES ({t}, 'f', true, 'r')",
    "usage_days": "(tenant_id, day) VALUES ({t}, '2026-01-01')",
    "usage_latencies": "VALUES ({t}, '2026-01-01', 'wait', 1, 1)",
    "usage_runs": "SELECT tenant_id, id, '2026-01-01', 'failed', 1, 1, 1, 1 FROM runs WHERE tenant_id = {t}",
    "tenant_limits": "(tenant_id) VALUES ({t})",
    "holds": "VALUES ('tenant/' || {t}, {t})",
    "fair_queues": "(tenant_id, pool) VALUES ({t}, 'p')",
    "dedicated_pools": "(tenant_id, pool) VALUES ({t}, 'gpu')",
    "concurrency_keys": "(tenant_id, key) VALUES ({t}, 'k')",
    "bulk_actions": "(tenant_id, id, action, filter, rate, created_by)"
    " VALUES ({t}, {t}, 'retry', '{{}}', 1, '{{}}')",
    "bulk_action_items": "(tenant_id, bulk_id, n, run_id, version) VALUES ({t}, {t}, 1, {t}, 1)",
    "triggers": "(tenant_id, id, name, source, types, type_name, spec)"
    " VALUES ({t}, {t}, 'n', 'events', '{{*}}', 't', '{{}}')",
    "trigger_secrets": "(tenant_id, trigger_id, id, nonce, ciphertext) VALUES ({t}, {t}, {t}, 'n', 'c')",
    "trigger_firings": "(tenant_id, trigger_id, event_id, type, subject, outcome, depth, origin)"
    " VALUES ({t}, {t}, 'e', 't', 'x/1', 'skipped', 1, 'e')",
    "webhooks": "(tenant_id, id, name, url, types) VALUES ({t}, {t}, 'n', 'u', '{{*}}')",
    "webhook_secrets": "(tenant_id, webhook_id, id, nonce, ciphertext) VALUES ({t}, {t}, {t}, 'n', 'c')",
    "webhook_queues": "(tenant_id, webhook_id) VALUES ({t}, {t})",
    "webhook_deliveries": "(tenant_id, webhook_id, event_id, subject, seq, type, data, occurred_at, position)"
    " VALUES ({t}, {t}, {t}, 'x/1', 1, 't', '{{}}', now(), 1)",
    "webhook_attempts": "(tenant_id, webhook_id, event_id, n, at, latency_ms)"
    " VALUES ({t}, {t}, {t}, 1, now(), 1)",
}


@pytest.fixture(scope="module")
def filled(database_urls: DatabaseUrls) -> Spine:
    """A tenant with at least one row in every tenant relation."""
    spine = Spine(database_urls)
    run = spine.declare(spine.plan({"a": []}, carriers={"a": 0}), broker=BROKER, labels={"k": "v"})
    spine.perform(run, "a")
    for relation, values in FILL.items():
        spine.admin.call(f"INSERT INTO {relation} {values.format(t=repr(str(spine.tenant)))}")
    for relation in (*TENANT, *OWN_ROW):
        assert spine.admin.call(f"SELECT count(*) > 0 FROM {relation}") == [(True,)], relation
    return spine


@pytest.fixture
def app(filled: Spine) -> Iterator[Cursor]:
    """A cursor of the app role in an open transaction, no tenant set."""
    with closing(psycopg2.connect(filled.urls.app)) as session, session.cursor() as cursor:
        yield cursor


def become(cursor: Cursor, tenant: object) -> None:
    cursor.execute("SELECT set_config('app.tenant_id', %s, true)", (str(tenant),))


def test_every_relation_is_decided(filled: Spine) -> None:
    rows = filled.admin.call(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    assert {row[0] for row in rows} == {*TENANT, *OWN_ROW, *GLOBAL}


@pytest.mark.parametrize("relation", TENANT)
def test_tenant_relation_forces_row_security(filled: Spine, relation: str) -> None:
    ((enabled, forced, key),) = filled.admin.call(
        "SELECT c.relrowsecurity, c.relforcerowsecurity, (SELECT a.attname"
        " FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
        " WHERE i.indrelid = c.oid AND i.indisprimary)"
        " FROM pg_class c WHERE c.oid = %s::regclass",
        (relation,),
    )
    assert (enabled, forced, key) == (True, True, "tenant_id")
    foreign = filled.admin.call(
        "SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'"
        " AND confrelid NOT IN ('tenants'::regclass, 'roles'::regclass)"
        " AND NOT EXISTS (SELECT 1 FROM pg_attribute a"
        " WHERE a.attrelid = conrelid AND a.attnum = ANY (conkey) AND a.attname = 'tenant_id')",
        (relation,),
    )
    assert foreign == [], "a foreign key to a tenant relation carries the tenant"


@pytest.mark.parametrize("relation", (*TENANT, *OWN_ROW))
def test_without_a_tenant_there_are_no_rows(app: Cursor, relation: str) -> None:
    app.execute(f"SELECT count(*) FROM {relation}")
    assert app.fetchone() == (0,)


@pytest.mark.parametrize("relation", (*TENANT, *OWN_ROW))
def test_another_tenant_sees_and_changes_nothing(filled: Spine, app: Cursor, relation: str) -> None:
    become(app, filled.new_tenant())
    column = OWN_ROW.get(relation, "tenant_id")
    app.execute(f"SELECT count(*) FROM {relation} WHERE {column} = %s", (str(filled.tenant),))
    assert app.fetchone() == (0,)
    for statement in (f"UPDATE {relation} SET {column} = {column}", f"DELETE FROM {relation}"):
        app.execute("SAVEPOINT change")
        try:
            app.execute(statement)
            assert app.rowcount == 0
        except psycopg2.errors.InsufficientPrivilege:
            pass  # not even granted
        app.execute("ROLLBACK TO SAVEPOINT change")


@pytest.mark.parametrize("relation", TENANT)
@pytest.mark.parametrize("tenant", ["none", "another"])
def test_no_write_into_a_tenant_that_is_not_set(
    filled: Spine, app: Cursor, relation: str, tenant: str
) -> None:
    if tenant == "another":
        become(app, filled.new_tenant())
    newborn = BIRTH.get(relation, "{}")  # else the trigger of transitions would answer first
    ((row,),) = filled.admin.call(f"SELECT (to_jsonb(r) || '{newborn}')::text FROM {relation} r LIMIT 1")
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        app.execute(
            f"INSERT INTO {relation} SELECT * FROM jsonb_populate_record(NULL::{relation}, %s::jsonb)", (row,)
        )


def test_setting_left_by_an_ended_transaction_opens_nothing(filled: Spine) -> None:
    with closing(psycopg2.connect(filled.urls.app)) as session, session.cursor() as cursor:
        become(cursor, filled.tenant)
        cursor.execute("SELECT count(*) FROM runs")
        assert cursor.fetchone() == (1,)
        session.commit()
        cursor.execute("SELECT count(*) FROM runs")
        assert cursor.fetchone() == (0,), "the setting reads back as '' now"


@pytest.mark.parametrize("relation", GLOBAL)
def test_app_role_sees_only_the_global_relations_it_needs(app: Cursor, relation: str) -> None:
    try:
        app.execute(f"SELECT 1 FROM {relation}")
        seen = True
    except psycopg2.errors.InsufficientPrivilege:
        seen = False
    assert seen == (relation in APP_MAY_SEE_GLOBAL)


def test_roles_are_plain(filled: Spine) -> None:
    rows = filled.admin.call(
        "SELECT rolname, rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb FROM pg_roles"
        " WHERE rolname LIKE 'quantum%' ORDER BY 1"
    )
    assert rows == [("quantum_app", False), ("quantum_owner", False), ("quantum_system", False)]
    owned = filled.admin.call("SELECT count(*) FROM pg_class WHERE relowner = 'quantum_app'::regrole")
    assert owned == [(0,)]
    member = filled.admin.call(
        "SELECT count(*) FROM pg_auth_members"
        " WHERE member IN ('quantum_app'::regrole, 'quantum_system'::regrole)"
    )
    assert member == [(0,)], "the app role cannot become another"


def test_functions_with_their_owners_rights_are_listed_and_pinned(filled: Spine) -> None:
    rows = filled.admin.call(
        "SELECT proname || '(' || pg_get_function_identity_arguments(oid) || ')', proconfig::text"
        " FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    assert {row[0] for row in rows} == DEFINERS
    assert all("search_path=pg_catalog, pg_temp" in row[1] for row in rows)


def test_tenant_is_resolved_by_its_slug_alone(filled: Spine, app: Cursor) -> None:
    ((slug,),) = filled.system.call("SELECT slug FROM tenants WHERE id = %s", (filled.tenant,))
    app.execute("SELECT id::text, name, state FROM resolve_tenant(%s)", (slug,))
    assert app.fetchall() == [(str(filled.tenant), "T", "active")]
    app.execute("SELECT * FROM resolve_tenant('nobody')")
    assert app.fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET data = '{}'",
        "DELETE FROM events",
        "UPDATE audit_records SET action = 'x'",
        "UPDATE audit_records SET seal = 1",
        "DELETE FROM audit_records",
        "UPDATE audit_seals SET mac = ''",
        "INSERT INTO audit_seals SELECT * FROM audit_seals",
        "DELETE FROM tenant_keys",
        "UPDATE tenant_keys SET created_at = now()",
        "UPDATE plan_steps SET operation = 'x'",
        "UPDATE intent_generations SET spec = '{}'",
        "INSERT INTO tenants (id, slug, name) VALUES (gen_random_uuid(), 'evil', 'x')",
        "SET ROLE quantum_system",
    ],
)
def test_app_role_may_not(filled: Spine, app: Cursor, statement: str) -> None:
    become(app, filled.tenant)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        app.execute(statement)
