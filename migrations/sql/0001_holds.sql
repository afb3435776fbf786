-- What operators want of workers, of the platform, of tenants: desired states as rows, which claims obey at once and
-- heartbeats soon after. They outlive the worker, the broker, the message that would have told them.

-- What is held from beginning new steps, mostly nothing, so that a claim pays next to nothing for asking: '*' is the
-- whole platform (maintenance), 'worker/<name>' a drained or quarantined worker, 'tenant/<id>' a suspended tenant.
-- Derived from the relations below by triggers, never written otherwise.
CREATE TABLE holds (
  name text PRIMARY KEY,
  tenant_id uuid
);

-- By the name that Celery gave the worker: its next process obeys, too. Without a row: active, as large as it starts.
CREATE TABLE worker_orders (
  name text PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 200),
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'draining', 'quarantined')),
  pool_size integer CHECK (pool_size BETWEEN 1 AND 512),
  reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
  changed_by text NOT NULL DEFAULT '',
  version integer NOT NULL DEFAULT 1,
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE maintenance (
  single boolean PRIMARY KEY DEFAULT true CHECK (single),
  active boolean NOT NULL DEFAULT false,
  reason text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
  since timestamptz,
  changed_by text NOT NULL DEFAULT '',
  version integer NOT NULL DEFAULT 1
);
INSERT INTO maintenance DEFAULT VALUES;

CREATE FUNCTION set_hold(p_name text, p_tenant uuid, p_held boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_held THEN
    INSERT INTO holds (name, tenant_id) VALUES (p_name, p_tenant) ON CONFLICT DO NOTHING;
  ELSE
    DELETE FROM holds WHERE name = p_name;
  END IF;
END $$;

CREATE FUNCTION hold_worker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM set_hold('worker/' || OLD.name, NULL, false);
  ELSE
    PERFORM set_hold('worker/' || NEW.name, NULL, NEW.state <> 'active');
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER worker_orders_hold AFTER INSERT OR UPDATE OR DELETE ON worker_orders
  FOR EACH ROW EXECUTE FUNCTION hold_worker();

CREATE FUNCTION hold_platform() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_hold('*', NULL, NEW.active);
  RETURN NULL;
END $$;
CREATE TRIGGER maintenance_hold AFTER UPDATE ON maintenance FOR EACH ROW EXECUTE FUNCTION hold_platform();

CREATE FUNCTION hold_tenant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_hold('tenant/' || NEW.id, NEW.id, NEW.state <> 'active');
  RETURN NULL;
END $$;
CREATE TRIGGER tenants_hold AFTER UPDATE OF state ON tenants
  FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION hold_tenant();

-- What a worker is to be, asked with each heartbeat: maintenance counts like draining, save that it is no order of its
-- own. Null for the size: as it was started.
CREATE FUNCTION order_for(p_name text) RETURNS TABLE (state text, pool_size integer) LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN coalesce(o.state, 'active') <> 'active' THEN o.state WHEN m.active THEN 'maintenance' ELSE 'active' END,
         o.pool_size
  FROM maintenance m LEFT JOIN worker_orders o ON o.name = p_name
$$;

-- A tenant learns of its own suspension only; the rest is the platform's.
ALTER TABLE holds ENABLE ROW LEVEL SECURITY;
ALTER TABLE holds FORCE ROW LEVEL SECURITY;
CREATE POLICY own_or_platform ON holds FOR SELECT TO quantum_app
  USING (tenant_id IS NULL OR tenant_id = (SELECT NULLIF(current_setting('app.tenant_id', true), '')::uuid));
CREATE POLICY system_jobs ON holds TO quantum_system USING (true) WITH CHECK (true);
GRANT SELECT ON holds TO quantum_app;
GRANT SELECT, INSERT, DELETE ON holds TO quantum_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON worker_orders TO quantum_system;
GRANT SELECT ON maintenance TO quantum_app;
GRANT SELECT, UPDATE ON maintenance TO quantum_system;
