-- Sub-workflows: a step whose work is a run of its own. While the child is under way the step waits: no worker slot, no
-- message. Nobody ever holds the locks of two runs: the child's end is committed first, then the step is ended under
-- its parent's lock. What a crash leaves between the two is listed by `children_due` (app/db/nesting.py).

-- A ready step becomes a run, once: compare-and-set on its state, unique on (parent, step, try). Without p_spec its
-- `when` was false: it is skipped. At a retry the child that failed with the same spec goes on instead of a new one.
-- The step's timeout is the child's deadline. verdicts: begun, again (the child has to be retried), skipped, too_deep, lost.
CREATE FUNCTION start_child(p_tenant uuid, p_run uuid, p_key text, p_spec jsonb, p_deepest integer, OUT verdict text,
                            OUT child uuid, OUT needs_advance boolean) LANGUAGE plpgsql AS $$
DECLARE r runs; s run_steps; last runs; called jsonb; most double precision; news record;
BEGIN
  verdict := 'lost';
  needs_advance := false;
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run AND state IN ('queued', 'running')
    FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN;
  ELSIF r.depth >= p_deepest AND p_spec IS NOT NULL THEN
    verdict := 'too_deep';
    RETURN;
  END IF;
  UPDATE run_steps SET state = CASE WHEN p_spec IS NULL THEN 'skipped' ELSE 'waiting' END, input = p_spec,
         tries = tries + 1, attempt = attempt + 1, error = NULL,
         started_at = clock_timestamp(), finished_at = CASE WHEN p_spec IS NULL THEN clock_timestamp() END
  WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key AND operation = 'workflow' AND NOT is_fan
    AND state = 'ready' RETURNING * INTO s;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  r := begun(r);
  IF p_spec IS NULL THEN
    SELECT * INTO news FROM conclude(r, s);
    verdict := 'skipped';
    needs_advance := news.needs_advance;
    RETURN;
  END IF;
  SELECT * INTO last FROM runs WHERE tenant_id = p_tenant AND parent_run_id = p_run AND parent_step = p_key
  ORDER BY parent_try DESC LIMIT 1;
  IF last.state = 'failed' AND last.spec = p_spec THEN
    verdict := 'again';
    child := last.id;
    RETURN;
  END IF;
  verdict := 'begun';
  child := uuid_v7();
  SELECT definition -> 'workflow', (definition ->> 'timeout_s')::double precision INTO called, most FROM plan_steps
  WHERE tenant_id = p_tenant AND plan_hash = r.plan_hash AND base = s.base;
  PERFORM start_runs(p_tenant, jsonb_build_array(jsonb_build_object('run_id', child, 'intent_id', r.intent_id,
    'generation', r.generation, 'type', r.type_name, 'plan_hash', called -> 'plan_hash', 'workflow', called -> 'name',
    'workflow_version', called -> 'version', 'priority', r.priority, 'parent_run_id', r.id,
    'trace', trace_below(r.trace, r.id))
    || CASE WHEN most > 0 THEN jsonb_build_object('deadline_s', most) ELSE '{}' END));
  UPDATE runs SET parent_run_id = r.id, parent_step = s.key, parent_try = s.tries, depth = r.depth + 1, spec = p_spec
  WHERE tenant_id = p_tenant AND id = child;
END $$;

-- An undoing step whose step is a sub-workflow: it waits while that run is compensated. The run comes back, for
-- `undo_child`; null when there is nothing of it to undo, and the undoing step has ended well.
CREATE FUNCTION start_undo(p_tenant uuid, p_run uuid, p_key text, OUT verdict text, OUT child uuid,
                           OUT needs_advance boolean) LANGUAGE plpgsql AS $$
DECLARE r runs; s run_steps; news record;
BEGIN
  verdict := 'lost';
  needs_advance := false;
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run AND state = 'compensating' FOR NO KEY UPDATE;
  child := child_to_undo(r, substr(p_key, 6));
  UPDATE run_steps SET state = CASE WHEN child IS NULL THEN 'succeeded' ELSE 'waiting' END, tries = tries + 1,
         attempt = attempt + 1, error = NULL, started_at = clock_timestamp(),
         finished_at = CASE WHEN child IS NULL THEN clock_timestamp() END
  WHERE tenant_id = p_tenant AND run_id = r.id AND key = p_key AND operation = 'workflow' AND undoes IS NOT NULL
    AND state = 'ready' RETURNING * INTO s;
  IF NOT FOUND THEN
    child := NULL;
    RETURN;
  END IF;
  verdict := 'again';
  IF child IS NULL THEN
    verdict := 'skipped';
    SELECT * INTO news FROM conclude(r, s);
    needs_advance := news.needs_advance;
  END IF;
END $$;

-- The run that an undoing step of its parent waits for is compensated, or its compensation that failed goes on. From
-- then on it belongs to the undoing step, which hears of its end as every step that is a run does.
CREATE FUNCTION undo_child(p_tenant uuid, p_child uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE c runs; s run_steps;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO c FROM runs WHERE tenant_id = p_tenant AND id = p_child
    AND state IN ('succeeded', 'failed', 'cancelled') FOR NO KEY UPDATE;
  SELECT * INTO s FROM run_steps WHERE tenant_id = p_tenant AND run_id = c.parent_run_id AND operation = 'workflow'
    AND state = 'waiting' AND (undoes = c.parent_step OR undoes IS NOT NULL AND key = c.parent_step AND tries > c.parent_try);
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE runs SET parent_step = s.key, parent_try = s.tries WHERE tenant_id = p_tenant AND id = p_child;
  IF c.compensation = 'failed' THEN
    PERFORM resume_undo(c, NULL);
  ELSIF begin_undo(c, 0, c.failed_steps, c.event_seq, CASE WHEN c.state = 'failed' THEN c.error
      ELSE '{"code": "cancelled", "reason": "undone with its parent"}' END) THEN
    UPDATE runs SET finished_at = NULL WHERE tenant_id = p_tenant AND id = p_child;
  ELSE
    UPDATE runs SET compensation = 'complete' WHERE tenant_id = p_tenant AND id = p_child;
  END IF;
  RETURN true;
END $$;

-- The failed child of a step that waits again after a retry: what failed in it runs again. The step's row
-- is read without its run's lock; if the step stops waiting meanwhile, the child is due to be cancelled.
CREATE FUNCTION retry_child(p_tenant uuid, p_child uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE c runs; wanted integer;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO c FROM runs WHERE tenant_id = p_tenant AND id = p_child AND state = 'failed' FOR NO KEY UPDATE;
  SELECT tries INTO wanted FROM run_steps WHERE tenant_id = p_tenant AND run_id = c.parent_run_id
    AND key = c.parent_step AND state = 'waiting' AND not_before IS NULL AND tries > c.parent_try
    AND undoes IS NULL;
  IF wanted IS NULL THEN
    RETURN false;
  END IF;
  UPDATE runs SET parent_try = wanted WHERE tenant_id = p_tenant AND id = p_child;
  c := CASE c.compensation WHEN 'failed' THEN resume_undo(c, NULL) WHEN 'complete' THEN rearm(c, keys_after_undo(c), NULL, NULL)
                           ELSE rearm(c, failed_keys(c), NULL, NULL) END;
  RETURN true;
END $$;

-- A child has ended: its step ends, under the parent's lock only, once: compare-and-set on (state, tries). The child is
-- read after that lock is there, since a retry of the parent may have sent it on meanwhile. p_output is what it gives
-- back, p_error why that could not be told; p_retry_in: after which time the child, which failed, is to go on. No
-- parent: nothing waits for this run.
CREATE FUNCTION end_child(p_tenant uuid, p_child uuid, p_output jsonb, p_error jsonb, p_retry_in interval DEFAULT NULL,
                          OUT parent uuid, OUT needs_advance boolean) LANGUAGE plpgsql AS $$
DECLARE c runs; r runs; s run_steps; news record; final text; again boolean;
BEGIN
  needs_advance := false;
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant
    AND id = (SELECT parent_run_id FROM runs WHERE tenant_id = p_tenant AND id = p_child) FOR NO KEY UPDATE;
  SELECT * INTO c FROM runs WHERE tenant_id = p_tenant AND id = p_child
    AND state IN ('succeeded', 'failed', 'cancelled', 'superseded');
  IF r.id IS NULL OR c.id IS NULL THEN
    RETURN;
  END IF;
  final := CASE WHEN starts_with(c.parent_step, 'undo-')
                  THEN CASE WHEN c.compensation = 'failed' THEN 'failed' ELSE 'succeeded' END
                WHEN c.state = 'cancelled' AND r.state = 'cancelling' THEN 'cancelled'
                WHEN c.state = 'succeeded' AND p_error IS NULL THEN 'succeeded' ELSE 'failed' END;
  again := final = 'failed' AND c.state = 'failed' AND p_error IS NULL AND p_retry_in IS NOT NULL
    AND r.state IN ('queued', 'running', 'pausing', 'paused');
  UPDATE run_steps SET state = CASE WHEN again THEN 'waiting' ELSE final END,
         not_before = CASE WHEN again THEN clock_timestamp() + p_retry_in END,
         finished_at = CASE WHEN NOT again THEN clock_timestamp() END,
         output = CASE WHEN final = 'succeeded' THEN coalesce(p_output, '{}') END,
         error = CASE WHEN final <> 'succeeded' THEN coalesce(p_error, jsonb_strip_nulls(jsonb_build_object(
           'code', 'child_failed', 'message', format('its run ended %s', c.state), 'state', c.state,
           'cause', c.error ->> 'code'))) || jsonb_build_object('child_run_id', c.id) END
  WHERE tenant_id = p_tenant AND run_id = r.id AND key = c.parent_step AND operation = 'workflow'
    AND state = 'waiting' AND not_before IS NULL AND tries = c.parent_try RETURNING * INTO s;
  IF NOT FOUND THEN
    RETURN;
  ELSIF again THEN
    INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state, error, started_at)
    VALUES (s.tenant_id, s.run_id, s.key, s.tries, s.attempt, s.round, 'retry', s.error, s.started_at);
    PERFORM wait_event(r, 'step.retrying', jsonb_build_object('run_id', r.id, 'step', s.key, 'attempt', s.attempt,
      'round', s.round, 'code', s.error ->> 'code'));
    RETURN;
  END IF;
  SELECT * INTO news FROM conclude(r, s);
  parent := r.id;
  needs_advance := news.needs_advance;
END $$;
