-- Triggers: what a tenant declares when an event happens, or when a signed message comes in; what became of each.

CREATE TABLE triggers (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  name text NOT NULL CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'), -- part of a path
  source text NOT NULL CHECK (source IN ('events', 'inbound')),
  types text[] NOT NULL DEFAULT '{}', -- of the events heard
  filter text, -- CEL over event
  type_name text NOT NULL,
  type_version integer,
  spec jsonb NOT NULL,
  labels jsonb NOT NULL DEFAULT '{}',
  priority smallint NOT NULL DEFAULT 0,
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused')),
  pause_reason text,
  from_position bigint NOT NULL DEFAULT 0, -- events up to here are not heard: older than it, or than its last pause
  event_seq integer NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 1,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name),
  CHECK ((source = 'events') = (types <> '{}'))
) WITH (fillfactor = 80);

CREATE TABLE trigger_secrets (
  tenant_id uuid NOT NULL,
  trigger_id uuid NOT NULL,
  id uuid NOT NULL,
  nonce bytea NOT NULL,
  ciphertext bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz,
  PRIMARY KEY (tenant_id, trigger_id, id),
  FOREIGN KEY (tenant_id, trigger_id) REFERENCES triggers ON DELETE CASCADE
);

-- One event, or one message by its webhook-id, is decided once by a trigger: in the commit that declares its intent.
CREATE TABLE trigger_firings (
  tenant_id uuid NOT NULL,
  trigger_id uuid NOT NULL,
  event_id text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 255),
  id uuid NOT NULL DEFAULT uuid_v7(),
  type text NOT NULL,
  subject text NOT NULL,
  outcome text NOT NULL CHECK (outcome IN ('fired', 'skipped', 'failed')),
  reason text,
  depth integer NOT NULL, -- how many triggers led here, this one included
  origin text NOT NULL, -- what the first of them heard
  intent_id uuid,
  run_id uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, trigger_id, event_id),
  FOREIGN KEY (tenant_id, trigger_id) REFERENCES triggers ON DELETE CASCADE,
  CHECK ((outcome = 'fired') = (run_id IS NOT NULL))
);
CREATE INDEX trigger_firings_listed ON trigger_firings (tenant_id, trigger_id, id);
CREATE INDEX trigger_firings_intent ON trigger_firings (tenant_id, intent_id) WHERE intent_id IS NOT NULL;
CREATE INDEX trigger_firings_chain ON trigger_firings (tenant_id, origin) WHERE outcome = 'fired';
CREATE INDEX trigger_firings_old ON trigger_firings (created_at);

-- How far the triggers have read each shard: up to `upto` there are at most p_limit events behind the cursor.
CREATE FUNCTION trigger_reach(p_limit integer) RETURNS TABLE (shard smallint, origin bigint, upto bigint)
LANGUAGE sql STABLE AS $$
  SELECT c.shard, c.position, b.upto FROM relay_cursors c CROSS JOIN LATERAL (
    SELECT max(n.position) AS upto FROM (
      SELECT e.position FROM events e WHERE e.shard = c.shard AND e.position > c.position
      ORDER BY e.position LIMIT p_limit) n) b
  WHERE c.sink = 'triggers' AND b.upto IS NOT NULL ORDER BY c.shard
$$;

-- The triggers that hear events of a stretch of a shard. Triggers do not hear of triggers.
CREATE FUNCTION trigger_candidates(p_shard smallint, p_origin bigint, p_upto bigint)
RETURNS TABLE (tenant_id uuid, trigger_id uuid, subject text, seq integer) LANGUAGE sql STABLE AS $$
  SELECT e.tenant_id, t.id, e.subject, e.seq FROM events e JOIN triggers t ON t.tenant_id = e.tenant_id
  WHERE e.shard = p_shard AND e.position > p_origin AND e.position <= p_upto
    AND t.source = 'events' AND t.state = 'active' AND e.position > t.from_position
    AND e.subject NOT LIKE 'triggers/%' AND type_fits(e.type, t.types)
    AND EXISTS (SELECT 1 FROM tenants x WHERE x.id = e.tenant_id AND x.state = 'active')
  ORDER BY e.tenant_id, e.position, t.id
$$;

-- Writes what triggers decided, whose rows the transaction has locked, with an event for each.
CREATE FUNCTION note_trigger_firings(p_tenant uuid, p_firings jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO trigger_firings (tenant_id, trigger_id, event_id, type, subject, outcome, reason, depth, origin, intent_id,
                               run_id)
  SELECT p_tenant, i.trigger_id, i.event_id, i.type, i.subject, i.outcome, i.reason, i.depth, i.origin, i.intent_id,
         i.run_id
  FROM jsonb_to_recordset(p_firings) AS i (trigger_id uuid, event_id text, type text, subject text, outcome text,
       reason text, depth integer, origin text, intent_id uuid, run_id uuid);

  PERFORM emit_event(p_tenant, 'triggers/' || t.id, (t.event_seq + i.place)::integer,
    CASE i.outcome WHEN 'fired' THEN 'trigger.fired' ELSE 'trigger.skipped' END,
    jsonb_build_object('trigger_id', t.id, 'name', t.name, 'event_id', i.event_id, 'event_type', i.type,
      'event_subject', i.subject, 'outcome', i.outcome, 'reason', i.reason, 'depth', i.depth,
      'intent_id', i.intent_id, 'run_id', i.run_id), NULL)
  FROM (SELECT f.*, row_number() OVER (PARTITION BY f.trigger_id ORDER BY f.n) AS place
        FROM (SELECT r.*, row_number() OVER () AS n
              FROM jsonb_to_recordset(p_firings) AS r (trigger_id uuid, event_id text, type text, subject text,
                   outcome text, reason text, depth integer, intent_id uuid, run_id uuid)) f) i
  JOIN triggers t ON t.tenant_id = p_tenant AND t.id = i.trigger_id;

  UPDATE triggers t SET event_seq = t.event_seq + n.events
  FROM (SELECT r.trigger_id, count(*)::integer AS events
        FROM jsonb_to_recordset(p_firings) AS r (trigger_id uuid) GROUP BY 1) n
  WHERE t.tenant_id = p_tenant AND t.id = n.trigger_id;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON triggers, trigger_secrets, trigger_firings TO quantum_app;
GRANT SELECT ON triggers TO quantum_system;
GRANT SELECT, DELETE ON trigger_firings TO quantum_system;
