-- Who may touch what. The app role reaches tenant relations through tenant_isolation only; the system role has an
-- explicit policy on the relations its jobs need, with grants as narrow as those jobs. Nobody has BYPASSRLS.

DO $$
DECLARE relation text;
BEGIN
  -- The setting reads back as '' after a transaction, so NULLIF; the sub-select is evaluated once a query.
  FOREACH relation IN ARRAY ARRAY[
    'tenant_limits', 'fair_queues', 'concurrency_keys',
    'bulk_actions', 'bulk_action_items',
    'dedicated_pools',
    'flag_overrides',
    'usage_days', 'usage_latencies', 'usage_runs',
    'users', 'user_roles', 'refresh_families', 'modules', 'intent_types', 'workflows', 'plans', 'plan_steps',
    'webhooks', 'webhook_secrets', 'webhook_queues', 'webhook_deliveries', 'webhook_attempts',
    'triggers', 'trigger_secrets', 'trigger_firings',
    'step_progress', 'step_logs', 'artifacts', 'step_artifacts', 'step_results',
    'event_floors',
    'intents', 'intent_generations', 'intent_labels', 'runs', 'run_steps', 'run_signals', 'step_attempts', 'events',
    'dead_events', 'audit_records', 'audit_seals', 'idempotency_keys', 'tenant_keys', 'secrets',
    'schedules', 'schedule_firings']
  LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', relation);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', relation);
    EXECUTE format(
      'CREATE POLICY tenant_isolation ON %I TO quantum_app
         USING (tenant_id = (SELECT NULLIF(current_setting(''app.tenant_id'', true), '''')::uuid))
         WITH CHECK (tenant_id = (SELECT NULLIF(current_setting(''app.tenant_id'', true), '''')::uuid))', relation);
  END LOOP;
  FOREACH relation IN ARRAY ARRAY[
    'tenant_limits', 'fair_queues', 'concurrency_keys',
    'dedicated_pools',
    'plan_steps', 'intents', 'intent_generations', 'runs', 'run_steps', 'step_attempts', 'events', 'dead_events',
    'step_progress', 'step_logs', 'artifacts', 'step_artifacts', 'step_results',
    'webhooks', 'webhook_queues', 'webhook_deliveries', 'webhook_attempts', 'intent_labels',
    'triggers', 'trigger_firings',
    'event_floors',
    'bulk_actions', 'bulk_action_items',
    'flag_overrides',
    'usage_days', 'usage_latencies', 'usage_runs',
    'audit_records', 'audit_seals', 'idempotency_keys', 'refresh_families', 'users', 'user_roles', 'schedules',
    'schedule_firings']
  LOOP
    EXECUTE format('CREATE POLICY system_jobs ON %I TO quantum_system USING (true) WITH CHECK (true)', relation);
  END LOOP;
END $$;

-- A tenant sees its own row; the system role administers all; the owner reads it for resolve_tenant only.
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_isolation ON tenants FOR SELECT TO quantum_app
  USING (id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
CREATE POLICY system_jobs ON tenants TO quantum_system USING (true) WITH CHECK (true);
CREATE POLICY owner_resolves ON tenants FOR SELECT TO quantum_owner USING (true);

-- The one thing read before the tenant is known.
CREATE FUNCTION resolve_tenant(p_slug text) RETURNS TABLE (id uuid, name text, state text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT t.id, t.name, t.state FROM public.tenants t WHERE t.slug = p_slug
$$;
REVOKE ALL ON FUNCTION resolve_tenant(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION resolve_tenant(text) TO quantum_app, quantum_system;

GRANT USAGE ON SCHEMA public TO quantum_app, quantum_system;

-- The app role. Definitions, events, audit records can be added, not changed.
GRANT SELECT ON tenants, roles TO quantum_app;
GRANT SELECT, INSERT, UPDATE ON users, intents, runs, run_steps, secrets TO quantum_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON user_roles, refresh_families, idempotency_keys, schedules,
  schedule_firings TO quantum_app;
GRANT SELECT, INSERT ON modules, intent_types, workflows, plans, plan_steps, intent_generations, intent_labels,
  step_attempts, events, audit_records, tenant_keys TO quantum_app;
GRANT SELECT ON dead_events, audit_seals TO quantum_app;
GRANT SELECT, INSERT, UPDATE ON run_signals TO quantum_app;
GRANT DELETE ON secrets TO quantum_app;
GRANT SELECT, INSERT, DELETE ON sign_in_failures TO quantum_app;

-- The system role: dispatcher, recovery, beat, relay, platform administration.
GRANT SELECT, INSERT, UPDATE ON tenants TO quantum_system;
GRANT SELECT ON roles, plan_steps, intent_generations, schedules TO quantum_system;
GRANT SELECT, DELETE ON schedule_firings TO quantum_system;
GRANT SELECT, UPDATE ON intents, runs, run_steps TO quantum_system;
GRANT SELECT, INSERT ON step_attempts, audit_records, audit_seals TO quantum_system;
GRANT UPDATE (seal) ON audit_records TO quantum_system;
GRANT SELECT, INSERT ON users, user_roles TO quantum_system;
GRANT SELECT, INSERT, DELETE, UPDATE (position) ON events TO quantum_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON dead_events TO quantum_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO quantum_system;
GRANT SELECT, DELETE ON refresh_families, sign_in_failures TO quantum_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON workers, queue_watermarks, platform_clock, beat_jobs, leases,
  relay_cursors TO quantum_system;
GRANT USAGE, SELECT ON SEQUENCE event_positions TO quantum_system;
