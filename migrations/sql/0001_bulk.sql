-- Bulk actions: one steering command for many runs. The runs are frozen when the action is made, then acted on one by
-- one, throttled, each in a transaction of its own that holds the command, its audit record, the item's outcome.

CREATE DOMAIN bulk_state AS text CHECK (VALUE IN ('running', 'paused', 'cancelled', 'finished'));

-- The lease says who executes it; next_at, when its next batch may begin. counts and done change with every item and
-- stand in no index.
CREATE TABLE bulk_actions (
  tenant_id uuid NOT NULL REFERENCES tenants,
  id uuid NOT NULL,
  action text NOT NULL
    CHECK (action IN ('retry', 'cancel', 'pause', 'resume', 'rerun', 'replay-dead-letters')),
  filter jsonb NOT NULL,
  reason text,
  rate double precision NOT NULL CHECK (rate > 0),
  state bulk_state NOT NULL DEFAULT 'running',
  matched integer NOT NULL DEFAULT 0,
  total integer NOT NULL DEFAULT 0,
  done integer NOT NULL DEFAULT 0,
  counts jsonb NOT NULL DEFAULT '{}',
  event_seq integer NOT NULL DEFAULT 0,
  version integer NOT NULL DEFAULT 1,
  lease_owner text,
  lease_until timestamptz,
  next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_by jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz
) WITH (fillfactor = 50);
CREATE INDEX bulk_actions_due ON bulk_actions (next_at) WHERE state || '' = 'running';
CREATE INDEX bulk_actions_ended ON bulk_actions (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX bulk_actions_state ON bulk_actions (tenant_id, state, id);
ALTER TABLE bulk_actions ADD PRIMARY KEY (tenant_id, id);

-- One run, or one dead letter of it, in the order of the freeze. No foreign key to the run: what became of it outlives
-- it, and a hundred thousand key-share locks on runs would buy nothing. version is the run's when it was frozen.
CREATE TABLE bulk_action_items (
  tenant_id uuid NOT NULL,
  bulk_id uuid NOT NULL,
  n integer NOT NULL,
  run_id uuid NOT NULL,
  step_key text,
  version integer NOT NULL,
  outcome text NOT NULL DEFAULT 'pending'
    CHECK (outcome IN ('pending', 'ok', 'illegal', 'conflict', 'not_found', 'error')),
  error jsonb,
  new_run_id uuid,
  finished_at timestamptz,
  FOREIGN KEY (tenant_id, bulk_id) REFERENCES bulk_actions
);
CREATE INDEX bulk_action_items_outcome ON bulk_action_items (tenant_id, bulk_id, outcome, n);
ALTER TABLE bulk_action_items ADD PRIMARY KEY (tenant_id, bulk_id, n);

-- An event of the action as it stands; the caller holds its row.
CREATE FUNCTION tell_bulk(b bulk_actions, p_type text, p_actor jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM emit_event(b.tenant_id, 'bulk-actions/' || b.id, b.event_seq, p_type, jsonb_build_object(
    'bulk_action_id', b.id, 'action', b.action, 'state', b.state, 'total', b.total, 'counts', b.counts), p_actor);
END $$;

-- Nothing is left to do.
CREATE FUNCTION finish_bulk(p_tenant uuid, p_id uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE b bulk_actions;
BEGIN
  UPDATE bulk_actions SET state = 'finished', finished_at = clock_timestamp(), version = version + 1,
         event_seq = event_seq + 1, lease_owner = NULL, lease_until = NULL
  WHERE tenant_id = p_tenant AND id = p_id RETURNING * INTO b;
  PERFORM tell_bulk(b, 'bulk.finished', b.created_by);
  PERFORM audit(p_tenant, b.created_by, 'bulk.finish', 'bulk-actions/' || p_id,
                jsonb_build_object('action', b.action, 'total', b.total, 'counts', b.counts));
END $$;

-- Called with the items in place, in the transaction that made them.
CREATE FUNCTION start_bulk(p_tenant uuid, p_id uuid, p_total integer, p_matched integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE b bulk_actions;
BEGIN
  UPDATE bulk_actions SET total = p_total, matched = p_matched, event_seq = 1
  WHERE tenant_id = p_tenant AND id = p_id RETURNING * INTO b;
  PERFORM tell_bulk(b, 'bulk.started', b.created_by);
  PERFORM audit(p_tenant, b.created_by, 'bulk.create', 'bulk-actions/' || p_id, jsonb_strip_nulls(
    jsonb_build_object('action', b.action, 'filter', b.filter, 'matched', b.matched, 'total', b.total,
                       'rate', b.rate, 'reason', b.reason)));
  IF p_total = 0 THEN
    PERFORM finish_bulk(p_tenant, p_id);
  END IF;
END $$;

-- An operator's pause, resume, cancel; what stands so already is left alone. An item that is being acted on holds the
-- row: once this has committed nothing more is done.
CREATE FUNCTION steer_bulk(p_tenant uuid, p_id uuid, p_actor jsonb, p_version integer, p_verb text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
  b bulk_actions;
  target text := CASE p_verb WHEN 'pause' THEN 'paused' WHEN 'resume' THEN 'running' ELSE 'cancelled' END;
BEGIN
  SELECT * INTO b FROM bulk_actions WHERE tenant_id = p_tenant AND id = p_id FOR NO KEY UPDATE;
  IF b.id IS NULL OR b.version <> p_version OR b.state = target OR b.state NOT IN ('running', 'paused') THEN
    RETURN CASE WHEN b.id IS NULL THEN 'not_found' WHEN b.version <> p_version THEN 'conflict'
                WHEN b.state = target THEN 'ok' ELSE 'illegal' END;
  END IF;
  UPDATE bulk_actions SET state = target, version = version + 1, event_seq = event_seq + 1,
         next_at = clock_timestamp(),
         finished_at = CASE WHEN target = 'cancelled' THEN clock_timestamp() END
  WHERE tenant_id = p_tenant AND id = p_id RETURNING * INTO b;
  PERFORM tell_bulk(b, CASE p_verb WHEN 'pause' THEN 'bulk.paused' WHEN 'resume' THEN 'bulk.resumed'
                       ELSE 'bulk.cancelled' END, p_actor);
  PERFORM audit(p_tenant, p_actor, 'bulk.' || p_verb, 'bulk-actions/' || p_id,
                jsonb_build_object('done', b.done, 'total', b.total));
  RETURN 'ok';
END $$;

-- The actions whose next batch is due, each for this owner alone until its lease ends. A batch is a quarter of a
-- second's worth; it is paid for when it is taken, and what was not used is not saved up for more than a second.
CREATE FUNCTION lease_bulks(p_owner text, p_for interval, p_limit integer, p_largest integer)
RETURNS TABLE (tenant_id uuid, id uuid, action text, reason text, created_by jsonb, batch integer)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  RETURN QUERY
    WITH due AS MATERIALIZED (
      SELECT d.tenant_id, d.id, least(p_largest, greatest(1, floor(d.rate / 4)))::integer AS batch
      FROM bulk_actions d
      WHERE d.state || '' = 'running' AND d.next_at <= clock_timestamp()
        AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp() OR d.lease_owner = p_owner)
      ORDER BY d.next_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE bulk_actions b SET lease_owner = p_owner, lease_until = clock_timestamp() + p_for,
           next_at = greatest(b.next_at, clock_timestamp() - interval '1 second')
                     + due.batch / b.rate * interval '1 second'
    FROM due WHERE b.tenant_id = due.tenant_id AND b.id = due.id
    RETURNING b.tenant_id, b.id, b.action, b.reason, b.created_by, due.batch;
END $$;

-- Whether this owner may act on the item now: then action and item are his until the transaction ends. Never waits.
CREATE FUNCTION claim_bulk_item(p_tenant uuid, p_id uuid, p_n integer, p_owner text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM bulk_actions WHERE tenant_id = p_tenant AND id = p_id AND state = 'running'
    AND lease_owner = p_owner FOR NO KEY UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  PERFORM 1 FROM bulk_action_items WHERE tenant_id = p_tenant AND bulk_id = p_id AND n = p_n
    AND outcome = 'pending' FOR NO KEY UPDATE SKIP LOCKED;
  RETURN FOUND;
END $$;

-- What became of a claimed item; the last one finishes the action.
CREATE FUNCTION settle_bulk_item(p_tenant uuid, p_id uuid, p_n integer, p_outcome text, p_error jsonb, p_new_run uuid)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE b bulk_actions;
BEGIN
  UPDATE bulk_action_items SET outcome = p_outcome, error = p_error, new_run_id = p_new_run,
         finished_at = clock_timestamp()
  WHERE tenant_id = p_tenant AND bulk_id = p_id AND n = p_n AND outcome = 'pending';
  IF NOT FOUND THEN
    RAISE EXCEPTION 'item % of the bulk action % is settled', p_n, p_id USING ERRCODE = 'QP001';
  END IF;
  UPDATE bulk_actions SET done = done + 1,
         counts = counts || jsonb_build_object(p_outcome, coalesce((counts ->> p_outcome)::integer, 0) + 1)
  WHERE tenant_id = p_tenant AND id = p_id RETURNING * INTO b;
  IF b.done = b.total THEN
    PERFORM finish_bulk(p_tenant, p_id);
  END IF;
END $$;

GRANT SELECT, INSERT, UPDATE ON bulk_actions, bulk_action_items TO quantum_app;
GRANT SELECT, UPDATE, DELETE ON bulk_actions, bulk_action_items TO quantum_system;
