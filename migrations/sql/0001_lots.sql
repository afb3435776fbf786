-- Lots: siblings that are ready at the same time, dealt out to fewer messages than steps. As many have a message of their
-- own as there are worker processes; the others are loose: sent, without a message. Whoever ends a step under a message
-- of the lot takes the next loose one in the same commit, so nobody waits while a process is free.

-- Takes the first loose step of a lot for a lease, if there is one and nothing holds it. Nobody waits for another taker.
CREATE FUNCTION take_loose(p_tenant uuid, p_run uuid, p_lot uuid, p_boot uuid, p_pid integer, p_born bigint, p_worker text,
                           OUT key text, OUT epoch integer, OUT verdict text, OUT tries integer, OUT attempt integer,
                           OUT round integer, OUT operation text, OUT definition jsonb, OUT context jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE held record;
BEGIN
  UPDATE run_steps t SET state = 'running', tries = t.tries + 1, attempt = t.attempt + 1,
         started_at = clock_timestamp(), finished_at = NULL, lease_boot = p_boot, lease_pid = p_pid,
         lease_born = p_born, worker = p_worker
  FROM runs u, plan_steps p
  WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.key = (
      SELECT c.key FROM run_steps c
      WHERE c.tenant_id = p_tenant AND c.run_id = p_run AND c.lot = p_lot AND c.loose AND c.state || '' = 'ready'
        AND c.sent_at IS NOT NULL
      ORDER BY c.seq, c.item LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
    AND u.tenant_id = p_tenant AND u.id = p_run
    AND p.tenant_id = p_tenant AND p.plan_hash = u.plan_hash AND p.base = t.base
    AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant, 'worker/' || p_worker))
  RETURNING t AS step, u AS run, p.definition INTO held;
  IF FOUND THEN
    SELECT o.* INTO key, epoch, verdict, tries, attempt, round, operation, definition, context
    FROM held_claim(held.run, held.step, held.definition) o;
  END IF;
END $$;

-- A claim as its owner is told it.
CREATE FUNCTION held_claim(p_run runs, p_step run_steps, p_definition jsonb, OUT key text, OUT epoch integer,
                           OUT verdict text, OUT tries integer, OUT attempt integer, OUT round integer, OUT operation text,
                           OUT definition jsonb, OUT context jsonb) LANGUAGE plpgsql AS $$
BEGIN
  key := p_step.key;
  epoch := p_step.dispatch_epoch;
  verdict := 'claimed';
  tries := p_step.tries;
  attempt := p_step.attempt;
  round := p_step.round;
  operation := p_step.operation;
  definition := p_definition;
  context := step_context(p_run, p_step, coalesce(p_definition -> 'refs', '[]'),
                          coalesce((p_definition ->> 'uses_spec')::boolean, false));
END $$;

-- The end of a step, however it ended, with the next of its lot in one commit. key is NULL when none is left.
CREATE FUNCTION finish_and_take(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_outcome text, p_input jsonb,
                                p_output jsonb, p_error jsonb, p_retry_in interval, p_lot uuid, p_boot uuid, p_pid integer,
                                p_born bigint, p_worker text, OUT finished text, OUT run_state text,
                                OUT needs_advance boolean, OUT key text, OUT epoch integer, OUT verdict text,
                                OUT tries integer, OUT attempt integer, OUT round integer, OUT operation text,
                                OUT definition jsonb, OUT context jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  SELECT f.verdict, f.run_state, f.needs_advance INTO finished, run_state, needs_advance
  FROM finish_step(p_tenant, p_run, p_key, p_tries, p_outcome, p_input, p_output, p_error, p_retry_in) f;
  IF finished = 'finished' THEN
    SELECT o.* INTO key, epoch, verdict, tries, attempt, round, operation, definition, context
    FROM take_loose(p_tenant, p_run, p_lot, p_boot, p_pid, p_born, p_worker) o;
  END IF;
END $$;

-- The next of a lot, for a message whose own step has ended before. A lease that holds one of the lot already, because
-- its last answer was lost, is given that one again.
CREATE FUNCTION take_step(p_tenant uuid, p_run uuid, p_lot uuid, p_boot uuid, p_pid integer, p_born bigint, p_worker text,
                          OUT key text, OUT epoch integer, OUT verdict text, OUT tries integer, OUT attempt integer,
                          OUT round integer, OUT operation text, OUT definition jsonb, OUT context jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE held record; tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  SELECT t AS step, u AS run, p.definition INTO held
  FROM run_steps t JOIN runs u ON u.tenant_id = t.tenant_id AND u.id = t.run_id
  JOIN plan_steps p ON p.tenant_id = t.tenant_id AND p.plan_hash = u.plan_hash AND p.base = t.base
  WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.lot = p_lot AND t.state || '' = 'running'
    AND t.lease_boot = p_boot AND t.lease_pid = p_pid AND t.lease_born = p_born
  LIMIT 1;
  IF FOUND THEN
    SELECT o.* INTO key, epoch, verdict, tries, attempt, round, operation, definition, context
    FROM held_claim(held.run, held.step, held.definition) o;
  ELSE
    SELECT o.* INTO key, epoch, verdict, tries, attempt, round, operation, definition, context
    FROM take_loose(p_tenant, p_run, p_lot, p_boot, p_pid, p_born, p_worker) o;
  END IF;
END $$;

-- A message of a lot ends at a boundary: the next loose step gets a message of its own, which the caller sends.
CREATE FUNCTION pass_on_lot(p_tenant uuid, p_run uuid, p_lot uuid, OUT key text, OUT epoch integer, OUT operation text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  UPDATE run_steps t SET loose = false, sent_at = clock_timestamp() -- its message begins to wait now
  WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.key = (
      SELECT c.key FROM run_steps c
      WHERE c.tenant_id = p_tenant AND c.run_id = p_run AND c.lot = p_lot AND c.loose AND c.state || '' = 'ready'
        AND c.sent_at IS NOT NULL
      ORDER BY c.seq, c.item LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
  RETURNING t.key, t.dispatch_epoch, t.operation INTO key, epoch, operation;
END $$;

-- How many live worker processes take messages of each queue: read by tenants' processes when they deal out steps.
CREATE FUNCTION queue_slots() RETURNS TABLE (queue text, slots integer)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT q.queue, sum(greatest(jsonb_array_length(w.children), 1))::integer
  FROM public.workers w CROSS JOIN LATERAL unnest(w.queues) AS q (queue) WHERE w.state = 'live'
    AND NOT EXISTS (SELECT 1 FROM public.holds h WHERE h.name = 'worker/' || w.hostname) GROUP BY q.queue
$$;
REVOKE ALL ON FUNCTION queue_slots() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION queue_slots() TO quantum_app, quantum_system;
