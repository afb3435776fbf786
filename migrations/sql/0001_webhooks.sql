-- Webhooks: what a tenant wants to be told over HTTP, what is to be delivered, what came of each attempt.

CREATE TABLE webhooks (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
  types text[] NOT NULL CHECK (cardinality(types) BETWEEN 1 AND 50), -- run.failed, run.*, *
  labels jsonb NOT NULL DEFAULT '{}',
  state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
  disabled_reason text,
  from_position bigint NOT NULL DEFAULT 0, -- events up to here were there before it
  version integer NOT NULL DEFAULT 1,
  created_by uuid,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, name)
);

-- Sealed under the tenant's key; one without an end is the present one, the others still sign until their end.
CREATE TABLE webhook_secrets (
  tenant_id uuid NOT NULL,
  webhook_id uuid NOT NULL,
  id uuid NOT NULL,
  nonce bytea NOT NULL,
  ciphertext bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz,
  PRIMARY KEY (tenant_id, webhook_id, id),
  FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
);

-- What changes while it is delivered. Its row lock orders everybody who touches the webhook's deliveries; its lease
-- makes one process at a time the one that sends. due_at: when somebody has to look, NULL when nobody does.
CREATE TABLE webhook_queues (
  tenant_id uuid NOT NULL,
  webhook_id uuid NOT NULL,
  due_at timestamptz,
  hold_until timestamptz, -- the breaker is open, or the receiver asked for a pause
  breaker text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
  failures integer NOT NULL DEFAULT 0, -- since the last success
  openings integer NOT NULL DEFAULT 0, -- of the breaker since then
  lease_owner text,
  lease_until timestamptz,
  delivered_at timestamptz,
  failing_since timestamptz, -- no attempt succeeded since then, none was a day after the one before
  failed_at timestamptz, -- the last failure since the last success
  PRIMARY KEY (tenant_id, webhook_id),
  FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX webhook_queues_due ON webhook_queues (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_queues_leased ON webhook_queues (lease_owner) WHERE lease_owner IS NOT NULL;

-- One event for one webhook; it has the event's facts, since the outbox forgets sooner. Of each subject exactly the
-- first pending one has ready_at: the others wait behind it.
CREATE TABLE webhook_deliveries (
  tenant_id uuid NOT NULL,
  webhook_id uuid NOT NULL,
  event_id uuid NOT NULL,
  subject text NOT NULL,
  seq integer NOT NULL,
  type text NOT NULL,
  data jsonb NOT NULL,
  occurred_at timestamptz NOT NULL,
  position bigint NOT NULL,
  state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
  attempts integer NOT NULL DEFAULT 0, -- ever
  attempts_before integer NOT NULL DEFAULT 0, -- those before the last replay
  since timestamptz NOT NULL DEFAULT clock_timestamp(), -- it is to be delivered: made, or replayed
  ready_at timestamptz,
  last_status integer,
  last_error text,
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, webhook_id, event_id),
  FOREIGN KEY (tenant_id, webhook_id) REFERENCES webhooks ON DELETE CASCADE,
  CHECK (ready_at IS NULL OR state = 'pending'),
  CHECK ((state = 'pending') = (finished_at IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (tenant_id, webhook_id, subject, position)
  WHERE state || '' = 'pending';
CREATE INDEX webhook_deliveries_ready ON webhook_deliveries (tenant_id, webhook_id, ready_at)
  WHERE ready_at IS NOT NULL;
CREATE INDEX webhook_deliveries_open ON webhook_deliveries (tenant_id, webhook_id, state, event_id)
  WHERE state || '' <> 'delivered';
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX webhook_deliveries_old ON webhook_deliveries (since) WHERE finished_at IS NULL;

CREATE TABLE webhook_attempts (
  tenant_id uuid NOT NULL,
  webhook_id uuid NOT NULL,
  event_id uuid NOT NULL,
  n integer NOT NULL,
  at timestamptz NOT NULL,
  latency_ms integer NOT NULL,
  status integer,
  error text,
  response text,
  PRIMARY KEY (tenant_id, webhook_id, event_id, n),
  FOREIGN KEY (tenant_id, webhook_id, event_id) REFERENCES webhook_deliveries ON DELETE CASCADE
);

-- The intent that an event speaks of: the labels to filter by are its. NULL for events of other subjects.
CREATE FUNCTION event_intent(p_tenant uuid, p_subject text) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT CASE split_part(p_subject, '/', 1)
    WHEN 'intents' THEN split_part(p_subject, '/', 2)::uuid
    WHEN 'runs' THEN (SELECT r.intent_id FROM runs r
                      WHERE r.tenant_id = p_tenant AND r.id = split_part(p_subject, '/', 2)::uuid)
  END
$$;

CREATE FUNCTION labels_fit(p_tenant uuid, p_subject text, p_labels jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN p_labels = '{}' THEN true ELSE (
    SELECT count(*) FROM intent_labels l JOIN jsonb_each_text(p_labels) want ON want.key = l.key AND want.value = l.value
    WHERE l.tenant_id = p_tenant AND l.intent_id = event_intent(p_tenant, p_subject)
  ) = (SELECT count(*) FROM jsonb_object_keys(p_labels)) END
$$;

-- Whether patterns such as run.failed, run.*, * name a type. Types have two parts behind their prefix.
CREATE FUNCTION type_fits(p_type text, p_patterns text[]) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT p_patterns && ARRAY['*', substr(p_type, 12), split_part(substr(p_type, 12), '.', 1) || '.*']
$$;

-- Gives the first pending delivery of each named subject its turn, unless it has it. The caller has the queue's lock.
CREATE FUNCTION webhook_heads(p_tenants uuid[], p_webhooks uuid[], p_subjects text[]) RETURNS void
LANGUAGE sql AS $$
  UPDATE webhook_deliveries d SET ready_at = clock_timestamp()
  FROM (SELECT DISTINCT * FROM unnest(p_tenants, p_webhooks, p_subjects) AS u (tenant_id, webhook_id, subject)) s
  CROSS JOIN LATERAL (
    SELECT x.event_id FROM webhook_deliveries x
    WHERE x.tenant_id = s.tenant_id AND x.webhook_id = s.webhook_id AND x.subject = s.subject
      AND x.state || '' = 'pending' ORDER BY x.position LIMIT 1) h
  WHERE d.tenant_id = s.tenant_id AND d.webhook_id = s.webhook_id AND d.event_id = h.event_id AND d.ready_at IS NULL
$$;

-- Lets somebody look at the queue when its first delivery is ready, no sooner than its hold ends.
CREATE FUNCTION webhook_due(p_tenant uuid, p_webhook uuid) RETURNS void LANGUAGE sql AS $$
  UPDATE webhook_queues q SET due_at = (
    SELECT greatest(min(d.ready_at), q.hold_until) FROM webhook_deliveries d, webhooks w
    WHERE d.tenant_id = p_tenant AND d.webhook_id = p_webhook AND d.ready_at IS NOT NULL
      AND w.tenant_id = p_tenant AND w.id = p_webhook AND w.state = 'active'
    HAVING min(d.ready_at) IS NOT NULL)
  WHERE q.tenant_id = p_tenant AND q.webhook_id = p_webhook
$$;

-- Turns the next numbered events of each shard into deliveries, with the cursor in the same commit: no event is left
-- out or taken twice, whoever dies. A shard that somebody else has in hand is left to it. Returns the events seen.
CREATE FUNCTION fan_out_webhooks(p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  cursor relay_cursors; upto bigint; seen integer; total integer := 0;
  tenants uuid[]; hooks uuid[]; subjects text[];
BEGIN
  FOR cursor IN SELECT * FROM relay_cursors WHERE sink = 'webhooks' ORDER BY shard FOR UPDATE SKIP LOCKED LOOP
    SELECT max(b.position), count(*), array_agg(DISTINCT b.tenant_id) INTO upto, seen, tenants
    FROM (SELECT e.position, e.tenant_id FROM events e WHERE e.shard = cursor.shard AND e.position > cursor.position
          ORDER BY e.position LIMIT p_limit) b;
    CONTINUE WHEN seen = 0;
    total := total + seen;
    PERFORM 1 FROM webhook_queues q WHERE q.tenant_id = ANY (tenants)
    ORDER BY q.tenant_id, q.webhook_id FOR UPDATE;
    -- Looked for in a snapshot behind the events': a webhook committed before one of them is seen.
    WITH added AS (
      INSERT INTO webhook_deliveries (tenant_id, webhook_id, event_id, subject, seq, type, data, occurred_at, position)
      SELECT e.tenant_id, w.id, e.id, e.subject, e.seq, e.type, e.data, e.created_at, e.position
      FROM events e JOIN webhooks w ON w.tenant_id = e.tenant_id
      WHERE e.shard = cursor.shard AND e.position > cursor.position AND e.position <= upto
        AND w.state = 'active' AND e.position > w.from_position
        AND type_fits(e.type, w.types) AND labels_fit(e.tenant_id, e.subject, w.labels)
      ON CONFLICT DO NOTHING RETURNING tenant_id, webhook_id, subject)
    SELECT array_agg(a.tenant_id), array_agg(a.webhook_id), array_agg(a.subject) INTO tenants, hooks, subjects
    FROM (SELECT DISTINCT * FROM added) a;
    IF tenants IS NOT NULL THEN
      PERFORM webhook_heads(tenants, hooks, subjects);
      UPDATE webhook_queues q SET due_at = least(q.due_at, greatest(clock_timestamp(), q.hold_until))
      FROM (SELECT DISTINCT * FROM unnest(tenants, hooks) AS u (tenant_id, webhook_id)) h
      WHERE q.tenant_id = h.tenant_id AND q.webhook_id = h.webhook_id;
    END IF;
    UPDATE relay_cursors SET position = upto, updated_at = clock_timestamp()
    WHERE sink = 'webhooks' AND shard = cursor.shard;
  END LOOP;
  RETURN total;
END $$;

-- Leases queues that are due to one process, tenant by tenant in turns: who has many does not come before who has one.
CREATE FUNCTION claim_webhooks(p_owner text, p_lease interval, p_limit integer) RETURNS TABLE (
  tenant_id uuid, webhook_id uuid, breaker text, failures integer, openings integer)
LANGUAGE sql AS $$
  UPDATE webhook_queues q SET lease_owner = p_owner, lease_until = clock_timestamp() + p_lease,
         breaker = CASE q.breaker WHEN 'open' THEN 'half_open' ELSE q.breaker END
  FROM (
    SELECT c.tenant_id, c.webhook_id FROM webhook_queues c JOIN (
      SELECT d.tenant_id, d.webhook_id, d.due_at, row_number() OVER (PARTITION BY d.tenant_id ORDER BY d.due_at) AS turn
      FROM (SELECT x.tenant_id, x.webhook_id, x.due_at FROM webhook_queues x
            WHERE x.due_at <= clock_timestamp() AND (x.lease_until IS NULL OR x.lease_until < clock_timestamp())
              AND EXISTS (SELECT 1 FROM tenants t WHERE t.id = x.tenant_id AND t.state = 'active')
            ORDER BY x.due_at LIMIT 2000) d
    ) f ON f.tenant_id = c.tenant_id AND f.webhook_id = c.webhook_id
    WHERE c.due_at <= clock_timestamp() AND (c.lease_until IS NULL OR c.lease_until < clock_timestamp())
    ORDER BY f.turn, f.due_at LIMIT p_limit FOR UPDATE OF c SKIP LOCKED
  ) mine
  WHERE q.tenant_id = mine.tenant_id AND q.webhook_id = mine.webhook_id
  RETURNING q.tenant_id, q.webhook_id, q.breaker, q.failures, q.openings
$$;

-- Renews what the owner still holds of what it has in hand; what is deleted, disabled, of a suspended tenant or lost is
-- not among the answer. A lease that was taken, but never came to hand, runs out.
CREATE FUNCTION renew_webhooks(p_owner text, p_lease interval, p_tenants uuid[], p_webhooks uuid[]) RETURNS TABLE (
  tenant_id uuid, webhook_id uuid, version integer)
LANGUAGE sql AS $$
  UPDATE webhook_queues q SET lease_until = clock_timestamp() + p_lease
  FROM webhooks w, tenants t, unnest(p_tenants, p_webhooks) AS h (tenant_id, webhook_id)
  WHERE q.tenant_id = h.tenant_id AND q.webhook_id = h.webhook_id AND q.lease_owner = p_owner AND q.lease_until > clock_timestamp()
    AND w.tenant_id = q.tenant_id AND w.id = q.webhook_id AND w.state = 'active'
    AND t.id = q.tenant_id AND t.state = 'active'
  RETURNING q.tenant_id, q.webhook_id, w.version
$$;

-- The next deliveries of subjects whose turn it is: up to p_chain of each, in order, none of the subjects in hand.
CREATE FUNCTION webhook_batch(p_tenant uuid, p_webhook uuid, p_busy text[], p_subjects integer, p_chain integer)
RETURNS SETOF webhook_deliveries LANGUAGE sql STABLE AS $$
  SELECT d.* FROM (
    SELECT r.subject, r.ready_at FROM webhook_deliveries r
    WHERE r.tenant_id = p_tenant AND r.webhook_id = p_webhook AND r.ready_at <= clock_timestamp()
      AND r.subject <> ALL (p_busy)
    ORDER BY r.ready_at LIMIT p_subjects) h
  CROSS JOIN LATERAL (
    SELECT x.* FROM webhook_deliveries x
    WHERE x.tenant_id = p_tenant AND x.webhook_id = p_webhook AND x.subject = h.subject AND x.state || '' = 'pending'
    ORDER BY x.position LIMIT p_chain) d
  ORDER BY h.ready_at, d.subject, d.position
$$;

-- Writes what came of attempts, while the lease is the owner's; NULL when it is not: then nothing is written, another
-- one delivers again. A result: event_id, state (pending: again after delay_s), the attempt. p_expire: the endpoint is
-- down, so whatever waited longer than that is given up. Returns for how many seconds every attempt has failed.
CREATE FUNCTION finish_webhooks(p_tenant uuid, p_webhook uuid, p_owner text, p_results jsonb, p_breaker jsonb,
                                p_expire interval, p_release boolean) RETURNS double precision LANGUAGE plpgsql AS $$
DECLARE subjects text[]; expired text[]; since timestamptz;
BEGIN
  PERFORM 1 FROM webhook_queues q WHERE q.tenant_id = p_tenant AND q.webhook_id = p_webhook
    AND q.lease_owner = p_owner AND q.lease_until > clock_timestamp() FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  WITH ended AS (
    UPDATE webhook_deliveries d SET attempts = d.attempts + 1, state = r.state, last_status = r.status,
           last_error = r.error,
           -- A replayed earlier event may have taken its turn meanwhile.
           ready_at = CASE WHEN r.state = 'pending' AND d.ready_at IS NOT NULL
                           THEN clock_timestamp() + make_interval(secs => r.delay_s) END,
           finished_at = CASE WHEN r.state <> 'pending' THEN clock_timestamp() END
    FROM jsonb_to_recordset(p_results) AS r (event_id uuid, state text, delay_s double precision, at timestamptz,
         latency_ms integer, status integer, error text, response text)
    WHERE d.tenant_id = p_tenant AND d.webhook_id = p_webhook AND d.event_id = r.event_id
      AND d.state || '' = 'pending'
    RETURNING d.subject, d.event_id, d.attempts, r.at, r.latency_ms, r.status, r.error, r.response
  ), kept AS (
    INSERT INTO webhook_attempts SELECT p_tenant, p_webhook, event_id, attempts, at, latency_ms, status, error, response
    FROM ended)
  SELECT array_agg(DISTINCT subject) INTO subjects FROM ended;
  IF p_expire IS NOT NULL THEN
    WITH given_up AS (
      UPDATE webhook_deliveries d SET state = 'dead', ready_at = NULL, finished_at = clock_timestamp(),
             last_error = coalesce(d.last_error, 'the endpoint was down for too long')
      WHERE d.tenant_id = p_tenant AND d.webhook_id = p_webhook AND d.state || '' = 'pending'
        AND d.since < clock_timestamp() - p_expire RETURNING d.subject)
    SELECT array_agg(DISTINCT subject) INTO expired FROM given_up;
  END IF;
  subjects := coalesce(subjects, '{}') || coalesce(expired, '{}');
  PERFORM webhook_heads(array_fill(p_tenant, ARRAY[cardinality(subjects)]),
                        array_fill(p_webhook, ARRAY[cardinality(subjects)]), subjects);
  UPDATE webhook_queues q SET breaker = b.state, failures = b.failures, openings = b.openings,
         hold_until = CASE WHEN b.hold_s > 0 THEN clock_timestamp() + make_interval(secs => b.hold_s) END,
         delivered_at = CASE WHEN b.delivered THEN clock_timestamp() ELSE q.delivered_at END,
         -- After a day of silence a failure begins anew: an endpoint that is seldom asked was not down all the while.
         failing_since = CASE WHEN b.failures = 0 OR b.delivered AND NOT b.failed THEN NULL
                              WHEN b.failed AND (b.delivered OR q.failing_since IS NULL
                                                 OR q.failed_at < clock_timestamp() - interval '1 day')
                              THEN clock_timestamp() ELSE q.failing_since END,
         failed_at = CASE WHEN b.failures = 0 OR b.delivered AND NOT b.failed THEN NULL
                          WHEN b.failed THEN clock_timestamp() ELSE q.failed_at END,
         lease_owner = CASE WHEN NOT p_release THEN q.lease_owner END,
         lease_until = CASE WHEN NOT p_release THEN q.lease_until END
  FROM jsonb_to_record(p_breaker) AS b (state text, failures integer, openings integer, hold_s double precision,
       delivered boolean, failed boolean)
  WHERE q.tenant_id = p_tenant AND q.webhook_id = p_webhook RETURNING q.failing_since INTO since;
  PERFORM webhook_due(p_tenant, p_webhook);
  RETURN coalesce(extract(epoch FROM clock_timestamp() - since), 0);
END $$;

-- Makes deliveries pending that ended, with the order of their subject: an earlier one goes before those that wait.
CREATE FUNCTION renew_deliveries(p_tenant uuid, p_webhook uuid, p_events uuid[]) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE subjects text[]; renewed integer;
BEGIN
  WITH again AS (
    UPDATE webhook_deliveries d SET state = 'pending', attempts_before = d.attempts, since = clock_timestamp(),
           finished_at = NULL, last_status = NULL, last_error = NULL
    WHERE d.tenant_id = p_tenant AND d.webhook_id = p_webhook AND d.event_id = ANY (p_events)
      AND d.finished_at IS NOT NULL RETURNING d.subject)
  SELECT count(*), array_agg(DISTINCT subject) INTO renewed, subjects FROM again;
  PERFORM put_in_order(p_tenant, p_webhook, subjects);
  RETURN renewed;
END $$;

-- Takes the turn from whatever has it in the named subjects, gives it to the first of each, wakes the queue.
CREATE FUNCTION put_in_order(p_tenant uuid, p_webhook uuid, p_subjects text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF p_subjects IS NULL THEN
    RETURN;
  END IF;
  UPDATE webhook_deliveries d SET ready_at = NULL
  WHERE d.tenant_id = p_tenant AND d.webhook_id = p_webhook AND d.subject = ANY (p_subjects)
    AND d.ready_at IS NOT NULL;
  PERFORM webhook_heads(array_fill(p_tenant, ARRAY[cardinality(p_subjects)]),
                        array_fill(p_webhook, ARRAY[cardinality(p_subjects)]), p_subjects);
  PERFORM webhook_due(p_tenant, p_webhook);
END $$;

-- Delivers events of the outbox again, or for the first time: those behind a position, not younger than p_since, that
-- the webhook's filters let through. Returns how many, with the position to go on from (NULL: that was all).
CREATE FUNCTION replay_webhook(p_tenant uuid, p_webhook uuid, p_after bigint, p_since timestamptz, p_limit integer)
RETURNS TABLE (replayed integer, next_after bigint) LANGUAGE plpgsql AS $$
DECLARE found uuid[]; subjects text[]; upto bigint; seen integer; added integer;
BEGIN
  PERFORM 1 FROM webhook_queues q WHERE q.tenant_id = p_tenant AND q.webhook_id = p_webhook FOR UPDATE;
  WITH behind AS (
    SELECT e.* FROM events e WHERE e.tenant_id = p_tenant AND e.position > p_after
      AND (p_since IS NULL OR e.created_at >= p_since) ORDER BY e.position LIMIT p_limit
  ), fitting AS (
    SELECT b.* FROM behind b JOIN webhooks w ON w.tenant_id = p_tenant AND w.id = p_webhook
    WHERE type_fits(b.type, w.types) AND labels_fit(p_tenant, b.subject, w.labels)
  ), new AS (
    INSERT INTO webhook_deliveries (tenant_id, webhook_id, event_id, subject, seq, type, data, occurred_at, position)
    SELECT p_tenant, p_webhook, f.id, f.subject, f.seq, f.type, f.data, f.created_at, f.position FROM fitting f
    ON CONFLICT DO NOTHING RETURNING subject)
  SELECT (SELECT array_agg(id) FROM fitting), (SELECT array_agg(DISTINCT subject) FROM new),
         (SELECT max(position) FROM behind), (SELECT count(*) FROM behind), (SELECT count(*) FROM new)
  INTO found, subjects, upto, seen, added;
  PERFORM put_in_order(p_tenant, p_webhook, subjects);
  replayed := added + renew_deliveries(p_tenant, p_webhook, found);
  next_after := CASE WHEN seen = p_limit THEN upto END;
  RETURN NEXT;
END $$;

-- Gives up what nobody could deliver for so long: its webhook is disabled, or too slow for what happens.
CREATE FUNCTION expire_deliveries(p_older interval, p_limit integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE hook record; gone integer; total integer := 0; subjects text[];
BEGIN
  FOR hook IN
    SELECT DISTINCT o.tenant_id, o.webhook_id FROM (
      SELECT d.tenant_id, d.webhook_id FROM webhook_deliveries d
      WHERE d.finished_at IS NULL AND d.since < clock_timestamp() - p_older ORDER BY d.since LIMIT p_limit) o
    ORDER BY 1, 2
  LOOP
    PERFORM 1 FROM webhook_queues q WHERE q.tenant_id = hook.tenant_id AND q.webhook_id = hook.webhook_id FOR UPDATE;
    WITH given_up AS (
      UPDATE webhook_deliveries d SET state = 'dead', ready_at = NULL, finished_at = clock_timestamp(),
             last_error = coalesce(d.last_error, 'not delivered in time')
      WHERE d.tenant_id = hook.tenant_id AND d.webhook_id = hook.webhook_id AND d.event_id = ANY (ARRAY(
        SELECT x.event_id FROM webhook_deliveries x
        WHERE x.tenant_id = hook.tenant_id AND x.webhook_id = hook.webhook_id AND x.finished_at IS NULL
          AND x.since < clock_timestamp() - p_older LIMIT p_limit))
      RETURNING d.subject)
    SELECT count(*), array_agg(DISTINCT subject) INTO gone, subjects FROM given_up;
    PERFORM put_in_order(hook.tenant_id, hook.webhook_id, subjects);
    total := total + gone;
  END LOOP;
  RETURN total;
END $$;

GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks, webhook_secrets, webhook_queues, webhook_deliveries TO quantum_app;
GRANT SELECT, DELETE ON webhook_attempts TO quantum_app;
GRANT SELECT ON webhooks, intent_labels TO quantum_system;
GRANT SELECT, UPDATE ON webhook_queues TO quantum_system;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_deliveries, webhook_attempts TO quantum_system;
