-- Moving a run on: what is ready, what was sent, what a foreach becomes; cancelled by people.

-- Ready steps that no message carries. Locks the run first: two callers of advance take turns, the second sees what
-- the first has marked. Nothing for a run that is not under way, waits for admission, or is held. Under a limit of steps
-- those that have a place; a last row without a key then names the run to look at next, if any. Of the steps that are
-- to be decided the first fifty come with what they are decided by, which may be large; the others are the next call's.
CREATE FUNCTION ready_steps(p_tenant uuid, p_run uuid, p_limit integer)
RETURNS TABLE (key text, base text, item integer, queue text, is_fan boolean, definition jsonb, context jsonb,
               plan_hash text, trace text) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE r runs; found record; places record; goes boolean; given text[];
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT u AS run, l.max_running_steps AS most,
         EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant)) AS held
  INTO found FROM runs u LEFT JOIN tenant_limits l ON l.tenant_id = u.tenant_id
  WHERE u.tenant_id = p_tenant AND u.id = p_run FOR NO KEY UPDATE OF u;
  IF found.held THEN
    RETURN;
  END IF;
  r := found.run;
  goes := r.state IN ('queued', 'running') AND r.admitted_at IS NOT NULL OR r.state = 'compensating';
  IF found.most IS NOT NULL OR r.held_steps IS NOT NULL THEN
    SELECT t.keys, t.next_run INTO places FROM take_places(r, goes, p_limit) t;
    given := places.keys;
  END IF;
  RETURN QUERY
    SELECT (o.s).key, (o.s).base, (o.s).item, (o.s).queue, (o.s).is_fan, p.definition,
           CASE WHEN p.base IS NOT NULL THEN step_context(r, o.s, coalesce(p.definition -> (w.kind || 'refs'), '[]'),
             coalesce((p.definition ->> (w.kind || 'uses_spec'))::boolean, false)) END, r.plan_hash,
           if_sampled(trace_below(r.trace, r.id))
    FROM (
      SELECT s, count(*) FILTER (WHERE s.is_fan OR s.operation IN ('wait', 'workflow'))
               OVER (ORDER BY s.seq, s.item ROWS UNBOUNDED PRECEDING) AS undecided
      FROM run_steps s
      WHERE goes AND s.tenant_id = p_tenant AND s.run_id = p_run AND s.state || '' = 'ready' AND s.sent_at IS NULL
        AND (given IS NULL OR s.is_fan OR s.operation IN ('wait', 'workflow') OR s.key = ANY (given))
      ORDER BY s.seq, s.item LIMIT p_limit) o
    CROSS JOIN LATERAL (SELECT CASE WHEN (o.s).is_fan OR (o.s).operation = 'wait' THEN 'foreach_' ELSE '' END AS kind) w
    LEFT JOIN plan_steps p ON ((o.s).is_fan OR (o.s).operation IN ('wait', 'workflow')) AND o.undecided <= 50
      AND p.tenant_id = p_tenant AND p.plan_hash = r.plan_hash AND p.base = (o.s).base
    ORDER BY (o.s).seq, (o.s).item;
  IF given IS NOT NULL THEN
    RETURN QUERY SELECT NULL::text, places.next_run::text, NULL::integer, NULL::text, NULL::boolean, NULL::jsonb, NULL::jsonb,
                        NULL::text, NULL::text;
  END IF;
END $$;

-- A ready fan becomes its items, once: compare-and-set on its state. No items: it ends well at once, so a join still
-- runs. Items of an earlier round, retired by a retry, run again under their old keys. True when something is ready
-- that no message carries.
-- With max_parallel the first items have a place, the others are pending until they get one. Items that would make
-- more than 100,000 open steps of the run fail their step instead.
CREATE FUNCTION expand_step(p_tenant uuid, p_run uuid, p_base text, p_items jsonb)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE r runs; s run_steps; news record; width integer := jsonb_array_length(p_items); places integer;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run AND state IN ('queued', 'running')
    FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF r.open_steps + width > 100000 THEN
    RETURN fail_decision(p_tenant, p_run, p_base, jsonb_build_object('code', 'too_many_steps', 'retryable', false,
      'message', format('with %s items the run would have more than 100000 open steps', width)));
  END IF;
  SELECT (definition ->> 'max_parallel')::integer INTO places FROM plan_steps
  WHERE tenant_id = p_tenant AND plan_hash = r.plan_hash AND base = p_base;
  UPDATE run_steps SET state = CASE WHEN width > 0 THEN 'waiting' ELSE 'succeeded' END, needs_left = width,
         input = CASE WHEN places IS NOT NULL THEN jsonb_build_object('items', width, 'max_parallel', places) END,
         started_at = clock_timestamp(), finished_at = CASE WHEN width = 0 THEN clock_timestamp() END
  WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_base AND is_fan AND state = 'ready'
  RETURNING * INTO s;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  IF width = 0 THEN
    SELECT * INTO news FROM conclude(begun(r), s);
    RETURN news.needs_advance;
  END IF;
  INSERT INTO run_steps (tenant_id, run_id, key, base, item, seq, state, needs_left, successors, is_fan, operation,
                         queue, continue_on_failure, ready_at, round, item_value)
  SELECT p_tenant, p_run, p_base || '.' || (i.n - 1), p_base, i.n - 1, s.seq,
         CASE WHEN i.n > places THEN 'pending' ELSE 'ready' END, CASE WHEN i.n > places THEN 1 ELSE 0 END, '{}', false,
         s.operation, s.queue, s.continue_on_failure, CASE WHEN i.n > places THEN NULL ELSE clock_timestamp() END,
         s.round, i.value
  FROM jsonb_array_elements(p_items) WITH ORDINALITY AS i (value, n)
  ON CONFLICT (tenant_id, run_id, key) DO UPDATE SET state = excluded.state, ready_at = excluded.ready_at,
    needs_left = excluded.needs_left, item_value = excluded.item_value, round = greatest(run_steps.round + 1, excluded.round), attempt = 0, kills = 0,
    sent_at = NULL, carrier = NULL, input = NULL, output = NULL, error = NULL, started_at = NULL, finished_at = NULL;
  UPDATE runs SET open_steps = open_steps + width WHERE tenant_id = p_tenant AND id = p_run;
  RETURN true;
END $$;

-- A run that ends or fails by a decision alone has begun too: the row as it stands after that.
CREATE FUNCTION begun(r runs) RETURNS runs LANGUAGE plpgsql AS $$
BEGIN
  IF r.state = 'queued' THEN
    PERFORM begin_run(r.tenant_id, r.id);
    SELECT * INTO r FROM runs WHERE tenant_id = r.tenant_id AND id = r.id;
  END IF;
  RETURN r;
END $$;

-- A foreach that cannot be evaluated, or is too wide, fails its step.
CREATE FUNCTION fail_decision(p_tenant uuid, p_run uuid, p_key text, p_error jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE r runs; s run_steps; news record;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run AND state IN ('queued', 'running')
    FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE run_steps SET state = 'failed', error = p_error, finished_at = clock_timestamp()
  WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key AND state = 'ready' RETURNING * INTO s;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  SELECT * INTO news FROM conclude(begun(r), s);
  RETURN news.needs_advance;
END $$;

-- Sending is claimed before it happens: each key that is still unsent gets a new dispatch epoch, which makes older
-- messages of it worthless. Only the keys returned may be sent. p_lots, p_loose say how they are dealt out; a step that is
-- sent by itself again stays a member of its lot, so its message takes others along.
CREATE FUNCTION mark_sent(p_tenant uuid, p_run uuid, p_keys text[], p_carriers integer[], p_broker_epoch text,
                          p_lots uuid[] DEFAULT NULL, p_loose boolean[] DEFAULT NULL)
RETURNS TABLE (key text, dispatch_epoch integer, lot uuid) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE link record;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  PERFORM 1 FROM runs WHERE tenant_id = p_tenant AND id = p_run
    AND (state IN ('queued', 'running') AND admitted_at IS NOT NULL OR state = 'compensating') FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- One by one, by primary key: a plan that takes the run's other steps for few would read them all for one item.
  FOR link IN SELECT c.key, c.carrier, c.lot, coalesce(c.loose, false) AS loose
              FROM unnest(p_keys, p_carriers, p_lots, p_loose) AS c (key, carrier, lot, loose) LOOP
    RETURN QUERY
      UPDATE run_steps s SET sent_at = clock_timestamp(), dispatch_epoch = s.dispatch_epoch + 1,
             carrier = link.carrier, broker_epoch = p_broker_epoch, lot = coalesce(link.lot, s.lot), loose = link.loose
      WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.key = link.key AND s.state IN ('pending', 'ready')
        AND s.sent_at IS NULL AND NOT s.is_fan
      RETURNING s.key, s.dispatch_epoch, s.lot;
  END LOOP;
END $$;

-- What could not be sent, or was lost, is unsent again, unless somebody has marked it anew since. The pending steps
-- of the same canvas went with it. Returns how many were unmarked.
CREATE FUNCTION unmark_sent(p_tenant uuid, p_run uuid, p_keys text[], p_epochs integer[]) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE carriers integer[];
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  PERFORM 1 FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  WITH mine AS (
    UPDATE run_steps s SET sent_at = NULL FROM unnest(p_keys, p_epochs) AS c (key, epoch)
    WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.key = c.key AND s.dispatch_epoch = c.epoch
      AND s.state IN ('pending', 'ready') AND s.sent_at IS NOT NULL
    RETURNING s.carrier
  ) SELECT array_agg(carrier) INTO carriers FROM mine;
  PERFORM break_canvas(p_tenant, p_run, c) FROM (SELECT DISTINCT unnest(carriers) AS c) d WHERE c IS NOT NULL;
  RETURN coalesce(cardinality(carriers), 0);
END $$;

-- The step a pool process holds, for its parent, which must settle it when the process cannot.
CREATE FUNCTION held_step(p_tenant uuid, p_run uuid, p_key text, p_boot uuid, p_pid integer, p_born bigint)
RETURNS TABLE (tries integer, attempt integer, definition jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  RETURN QUERY
    SELECT s.tries, s.attempt, p.definition FROM run_steps s
    JOIN runs r ON r.tenant_id = p_tenant AND r.id = p_run
    JOIN plan_steps p ON p.tenant_id = p_tenant AND p.plan_hash = r.plan_hash AND p.base = s.base
    WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.key = p_key AND s.state = 'running'
      AND s.lease_boot = p_boot AND s.lease_pid = p_pid AND s.lease_born = p_born;
END $$;

-- Everything not yet running is cancelled at once; what runs is told by its worker's heartbeat, and the run stays
-- cancelling until the last of it ends. Cancelling twice changes nothing, except that p_compensate may be added: then
-- what completed is undone before the run ends.
CREATE FUNCTION cancel_run(p_tenant uuid, p_run uuid, p_actor jsonb, p_version integer, p_reason text,
                           p_compensate boolean DEFAULT false)
RETURNS TABLE (verdict text, run_state text, version integer) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  r runs; closed integer; final text := 'cancelling';
  why jsonb := jsonb_strip_nulls(jsonb_build_object('code', 'cancelled', 'reason', p_reason));
  wanted text;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  p_compensate := p_compensate OR parent_wants_undo(r);
  wanted := CASE WHEN p_compensate THEN 'wanted' END;
  IF r.version = coalesce(p_version, r.version) AND r.state = 'cancelling' AND r.compensation IS NULL AND p_compensate
     AND NOT is_overdue(r.error) THEN
    UPDATE runs SET compensation = wanted, version = version + 1 WHERE tenant_id = p_tenant AND id = p_run
    RETURNING * INTO r;
    PERFORM audit(p_tenant, p_actor, 'run.cancel', 'runs/' || p_run, why || '{"compensate": true}');
    RETURN QUERY SELECT 'ok', r.state::text, r.version;
    RETURN;
  END IF;
  IF r.id IS NULL OR r.version <> p_version OR r.state NOT IN ('queued', 'running', 'pausing', 'paused') THEN
    RETURN QUERY SELECT CASE WHEN r.id IS NULL THEN 'not_found' WHEN r.version <> p_version THEN 'conflict'
                             WHEN r.state = 'cancelling' THEN 'ok' ELSE 'illegal' END, r.state::text, r.version;
    RETURN;
  END IF;
  closed := close_steps(r, why);
  UPDATE runs SET state = 'cancelling', error = why, version = version + 1, compensation = wanted
  WHERE tenant_id = p_tenant AND id = p_run RETURNING * INTO r;
  IF r.open_steps = closed THEN
    final := settle_run(r, closed, r.failed_steps, r.event_seq, why);
    r.version := r.version + 1;
  ELSE
    UPDATE runs SET open_steps = open_steps - closed WHERE tenant_id = p_tenant AND id = p_run;
  END IF;
  PERFORM audit(p_tenant, p_actor, 'run.cancel', 'runs/' || p_run,
                why || CASE WHEN p_compensate THEN '{"compensate": true}' ELSE '{}' END::jsonb);
  RETURN QUERY SELECT 'ok', final, r.version;
END $$;

-- What a worker asks while it executes a step.
CREATE FUNCTION run_state(p_tenant uuid, p_run uuid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  RETURN (SELECT state FROM runs WHERE tenant_id = p_tenant AND id = p_run);
END $$;
