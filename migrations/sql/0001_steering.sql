-- Steering a run by hand: pause, resume, skip, retry, rerun. Each locks the run first, is compare-and-set on its state
-- (and on its version, when the caller names one), writes its events with its audit record in the same transaction.

-- A pausing run whose last running step has ended rests, and gives its place away.
CREATE FUNCTION rest_run(p_tenant uuid, p_run uuid, p_actor jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE seq integer; held text;
BEGIN
  UPDATE runs SET state = 'paused', admitted_at = NULL, version = version + 1, event_seq = event_seq + 1
  WHERE tenant_id = p_tenant AND id = p_run AND state = 'pausing' AND NOT EXISTS (
    SELECT 1 FROM run_steps s WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.state = 'running')
  RETURNING event_seq, concurrency_key INTO seq, held;
  IF NOT FOUND THEN
    RETURN 'pausing';
  END IF;
  PERFORM emit_event(p_tenant, 'runs/' || p_run, seq, 'run.paused',
    jsonb_build_object('run_id', p_run, 'state', 'paused'), p_actor);
  PERFORM leave_place(p_tenant, held);
  RETURN 'paused';
END $$;

-- Takes the messages of everything that has not begun: whoever claims with one of them loses. A claim that commits
-- while we wait for its row is running when we look for running steps, so nothing can begin after this commits.
-- Pausing twice changes nothing.
CREATE FUNCTION pause_run(p_tenant uuid, p_run uuid, p_actor jsonb, p_version integer, p_reason text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE r runs; final text;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  IF r.id IS NULL OR r.version <> p_version OR r.state NOT IN ('queued', 'running') THEN
    RETURN CASE WHEN r.id IS NULL THEN 'not_found' WHEN r.version <> p_version THEN 'conflict'
                WHEN r.state IN ('pausing', 'paused') THEN 'ok' ELSE 'illegal' END;
  END IF;
  UPDATE run_steps SET sent_at = NULL, carrier = NULL
  WHERE tenant_id = p_tenant AND run_id = p_run AND state IN ('pending', 'ready') AND sent_at IS NOT NULL;
  UPDATE runs SET state = 'pausing', version = version + 1 WHERE tenant_id = p_tenant AND id = p_run;
  final := rest_run(p_tenant, p_run, p_actor);
  PERFORM audit(p_tenant, p_actor, 'run.pause', 'runs/' || p_run,
                jsonb_strip_nulls(jsonb_build_object('state', final, 'reason', p_reason)));
  RETURN 'ok';
END $$;

-- Under way again; the caller advances it. A run that nobody had begun is queued again. One that rested is admitted
-- anew, or waits.
CREATE FUNCTION resume_run(p_tenant uuid, p_run uuid, p_actor jsonb, p_version integer) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE r runs;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  IF r.id IS NULL OR r.version <> p_version OR r.state NOT IN ('pausing', 'paused') THEN
    RETURN CASE WHEN r.id IS NULL THEN 'not_found' WHEN r.version <> p_version THEN 'conflict'
                WHEN r.state IN ('queued', 'running') THEN 'ok' ELSE 'illegal' END;
  ELSIF EXISTS (SELECT FROM runs p WHERE p.tenant_id = p_tenant AND p.id = r.parent_run_id
                AND p.state IN ('pausing', 'paused')) THEN
    RETURN 'parent_paused';
  END IF;
  UPDATE runs SET state = CASE WHEN started_at IS NULL THEN 'queued' ELSE 'running' END, version = version + 1,
         paused_by_parent = false, event_seq = event_seq + 1, admitted_at = coalesce(r.admitted_at, place_for(r)),
         held_by_key = r.admitted_at IS NULL AND r.concurrency_key IS NOT NULL
  WHERE tenant_id = p_tenant AND id = p_run RETURNING * INTO r;
  PERFORM emit_event(p_tenant, 'runs/' || p_run, r.event_seq, 'run.resumed',
    jsonb_build_object('run_id', p_run, 'state', r.state), p_actor);
  PERFORM audit(p_tenant, p_actor, 'run.resume', 'runs/' || p_run, '{}');
  RETURN 'ok';
END $$;

-- An intent has one open run at most: two would quarrel about its phase. Locks the intent.
CREATE FUNCTION is_occupied(p_run runs) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM intents WHERE tenant_id = p_run.tenant_id AND id = p_run.intent_id FOR NO KEY UPDATE;
  RETURN EXISTS (SELECT 1 FROM runs o WHERE o.tenant_id = p_run.tenant_id AND o.intent_id = p_run.intent_id
    AND o.id <> p_run.id AND o.parent_run_id IS NULL AND o.state NOT IN ('succeeded', 'failed', 'cancelled', 'superseded'));
END $$;

-- The step with what depends on it: everything when p_all, else only what its failure has cancelled. Left out is what
-- another failed step still holds back; that is empty when it holds back the step itself.
CREATE FUNCTION keys_from(p_run runs, p_step run_steps, p_all boolean) RETURNS text[] LANGUAGE sql STABLE AS $$
  WITH RECURSIVE base AS MATERIALIZED (
    SELECT key, state, successors, continue_on_failure FROM run_steps
    WHERE tenant_id = p_run.tenant_id AND run_id = p_run.id AND item IS NULL
  ), down (key) AS (
    SELECT p_step.base
    UNION
    SELECT t.key FROM down d JOIN base s ON s.key = d.key
    JOIN base t ON t.key = ANY (s.successors) AND (p_all OR t.state = 'cancelled')
  ), blocked (key, state) AS (
    SELECT key, state::text FROM base
    WHERE state = 'failed' AND NOT continue_on_failure AND key NOT IN (SELECT key FROM down)
    UNION
    SELECT t.key, t.state::text FROM blocked b JOIN base s ON s.key = b.key AND b.state IN ('failed', 'cancelled')
    JOIN base t ON t.key = ANY (s.successors) AND t.state IN ('cancelled', 'skipped')
  ), found (key) AS (SELECT key FROM down EXCEPT SELECT key FROM blocked)
  SELECT CASE WHEN p_step.item IS NOT NULL AND p_step.base IN (SELECT key FROM found)
              THEN array_append(array_agg(key), p_step.key) ELSE array_agg(key) END FROM found
$$;

-- The next round of a run that failed: these steps are open again. A fan waits for those of its items that are among
-- them; without any it decides anew, and the items it had are retired. What still holds a step back is counted from
-- the rows. tries and dispatch_epoch go on growing, so nothing of an earlier round can claim or finish; round changes
-- the idempotency key. A deadline begins anew.
-- A fan that needs one of these steps, which had failed before it, decides anew as well: it waits for that step again.
CREATE FUNCTION rearm(p_run runs, p_keys text[], p_from text, p_actor jsonb) RETURNS runs LANGUAGE plpgsql AS $$
DECLARE r runs; undecided text[]; behind text[];
BEGIN
  behind := ARRAY(SELECT p.base FROM plan_steps p WHERE p.tenant_id = p_run.tenant_id AND p.plan_hash = p_run.plan_hash
                  AND p.is_fan AND p.base = ANY (p_keys) AND p.needs && p_keys);
  IF behind <> '{}' THEN
    p_keys := ARRAY(
      SELECT s.key FROM unnest(p_keys) k
      JOIN run_steps s ON s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id AND s.key = k
      WHERE s.item IS NULL OR s.base <> ALL (behind));
  END IF;
  undecided := ARRAY(
    SELECT s.key FROM unnest(p_keys) k
    JOIN run_steps s ON s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id AND s.key = k AND s.is_fan
    EXCEPT SELECT s.base FROM unnest(p_keys) k
    JOIN run_steps s ON s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id AND s.key = k AND s.item IS NOT NULL);
  UPDATE run_steps SET state = 'cancelled', error = '{"code": "retired"}'
  WHERE tenant_id = p_run.tenant_id AND run_id = p_run.id AND base = ANY (undecided) AND item IS NOT NULL;
  UPDATE run_steps s SET round = s.round + 1, attempt = 0, kills = 0, sent_at = NULL, carrier = NULL,
         not_before = NULL, error = NULL, output = NULL, started_at = NULL, finished_at = NULL,
         state = CASE WHEN s.item IS NULL THEN s.state WHEN w.key IS NULL THEN 'ready' ELSE 'pending' END,
         needs_left = CASE WHEN w.key IS NULL THEN 0 ELSE 1 END,
         ready_at = CASE WHEN s.item IS NOT NULL AND w.key IS NULL THEN clock_timestamp() END
  FROM unnest(p_keys) k LEFT JOIN without_place(p_run, p_keys) AS w (key) ON w.key = k
  WHERE s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id AND s.key = k;
  WITH w AS MATERIALIZED (
    SELECT p.base, p.definition -> 'needs_on' AS outcomes,
      (SELECT count(*) FROM unnest(p_keys) i WHERE p.is_fan AND starts_with(i, p.base || '.')) AS items,
      (SELECT count(*) FROM unnest(p.needs) n WHERE n = ANY (p_keys)) AS needs
    FROM plan_steps p
    WHERE p.tenant_id = p_run.tenant_id AND p.plan_hash = p_run.plan_hash AND p.base = ANY (p_keys)
  )
  UPDATE run_steps s SET needs_left = w.items + w.needs,
         state = CASE WHEN w.items > 0 THEN 'waiting' WHEN w.needs > 0 THEN 'pending' ELSE 'ready' END,
         ready_at = CASE WHEN w.items + w.needs = 0 THEN clock_timestamp() END,
         error = CASE WHEN w.outcomes IS NOT NULL THEN unmet_need(s, w.outcomes, p_keys) END
  FROM w
  WHERE s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id AND s.key = w.base AND s.item IS NULL;
  UPDATE runs SET state = 'running', admitted_at = place_for(p_run), held_by_key = p_run.concurrency_key IS NOT NULL,
         round = round + 1, version = version + 1, open_steps = cardinality(p_keys),
         failed_steps = (SELECT count(*) FROM run_steps f WHERE f.tenant_id = p_run.tenant_id AND f.run_id = p_run.id
                          AND f.state = 'failed' AND NOT f.continue_on_failure),
         error = NULL, compensation = NULL, finished_at = NULL, event_seq = event_seq + 1,
         started_at = coalesce(started_at, clock_timestamp()), begin_by = NULL,
         (deadline_at, due_at) = (SELECT d, d FROM (SELECT clock_timestamp() + make_interval(secs => deadline_s) AS d) f)
  WHERE tenant_id = p_run.tenant_id AND id = p_run.id RETURNING * INTO r;
  PERFORM emit_event(r.tenant_id, 'runs/' || r.id, r.event_seq, 'run.retried', jsonb_strip_nulls(jsonb_build_object(
    'run_id', r.id, 'round', r.round, 'steps', cardinality(p_keys), 'from', p_from)), p_actor);
  UPDATE intents SET phase = 'running', updated_at = clock_timestamp(), version = version + 1
  WHERE tenant_id = r.tenant_id AND id = r.intent_id AND generation = r.generation;
  RETURN r;
END $$;

-- What failed or never ran.
CREATE FUNCTION failed_keys(p_run runs) RETURNS text[] LANGUAGE sql STABLE AS $$
  SELECT ARRAY(SELECT s.key FROM run_steps s
               WHERE s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id AND is_unfinished(s))
$$;

-- An operator's retry of a failed run. Without a step: what failed or never ran. Failures that were accepted
-- (continue_on_failure) stay: their dependants have run. A compensation that failed goes on; after one that is complete
-- what was undone runs again, with all that depends on it. From a step (an item of a fan too): that step with all that
-- depends on it, whatever became of them.
CREATE FUNCTION retry_run(p_tenant uuid, p_run uuid, p_actor jsonb, p_version integer, p_from text DEFAULT NULL)
RETURNS TABLE (verdict text, rearmed integer) LANGUAGE plpgsql AS $$
DECLARE r runs; s run_steps; keys text[];
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  IF r.id IS NULL OR r.version <> p_version OR r.state <> 'failed' OR r.parent_run_id IS NOT NULL THEN
    RETURN QUERY SELECT CASE WHEN r.id IS NULL THEN 'not_found' WHEN r.version <> p_version THEN 'conflict'
                             WHEN r.state <> 'failed' THEN 'illegal' ELSE 'child' END, 0;
    RETURN;
  END IF;
  IF r.compensation = 'failed' AND coalesce(p_from, r.error ->> 'undo') = r.error ->> 'undo' THEN
    keys := NULL;
  ELSIF r.compensation IS NOT NULL AND p_from IS NOT NULL THEN
    RETURN QUERY SELECT 'undone', 0;
    RETURN;
  ELSIF r.compensation IS NOT NULL THEN
    keys := keys_after_undo(r);
  ELSIF p_from IS NULL THEN
    keys := failed_keys(r);
  ELSE
    SELECT * INTO s FROM run_steps WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_from;
    IF s.key IS NULL OR s.item IS NOT NULL AND s.state = 'cancelled' THEN
      RETURN QUERY SELECT 'no_step', 0;
      RETURN;
    END IF;
    keys := keys_from(r, s, true);
    IF NOT coalesce(p_from = ANY (keys), false) THEN
      RETURN QUERY SELECT 'held_back', 0;
      RETURN;
    END IF;
  END IF;
  IF is_occupied(r) THEN
    RETURN QUERY SELECT 'occupied', 0;
    RETURN;
  END IF;
  r := CASE WHEN keys IS NULL THEN resume_undo(r, p_actor) ELSE rearm(r, keys, p_from, p_actor) END;
  PERFORM audit(p_tenant, p_actor, 'run.retry', 'runs/' || p_run, jsonb_strip_nulls(jsonb_build_object(
    'round', r.round, 'steps', r.open_steps, 'from', p_from, 'compensation', r.compensation)));
  IF keys = '{}' THEN
    -- Its last step ended well after the deadline: all is done.
    PERFORM settle_run(r, 0, r.failed_steps, r.event_seq);
  END IF;
  RETURN QUERY SELECT 'ok', r.open_steps;
END $$;

-- A step that need not run: its dependants go on, its output is null. Legal for what has not begun in a run under way,
-- and for what failed in a failed run, which then goes on from there. A fan whose items have begun is not skipped as
-- a whole: its items are. Skipping twice changes nothing.
CREATE FUNCTION skip_step(p_tenant uuid, p_run uuid, p_key text, p_actor jsonb, p_version integer, p_reason text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  r runs; s run_steps;
  why jsonb := jsonb_build_object('code', 'skipped', 'message', p_reason, 'by', p_actor ->> 'email');
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  -- A claim of the step takes no lock of the run: wait for the one that is about to commit.
  SELECT * INTO s FROM run_steps WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key FOR NO KEY UPDATE;
  IF r.id IS NULL OR s.key IS NULL OR r.version <> p_version OR s.state = 'skipped' THEN
    RETURN CASE WHEN r.id IS NULL THEN 'not_found' WHEN s.key IS NULL THEN 'no_step'
                WHEN r.version <> p_version THEN 'conflict' ELSE 'ok' END;
  ELSIF r.state = 'failed' AND s.state = 'failed' AND NOT s.continue_on_failure THEN
    IF r.parent_run_id IS NOT NULL OR is_occupied(r) THEN
      RETURN CASE WHEN r.parent_run_id IS NULL THEN 'occupied' ELSE 'child' END;
    ELSIF r.compensation IS NOT NULL AND s.undoes IS NULL THEN
      RETURN 'undone';
    END IF;
    r := CASE WHEN s.undoes IS NOT NULL THEN resume_undo(r, p_actor)
              ELSE rearm(r, keys_from(r, s, false), p_key, p_actor) END;
  ELSIF r.state IN ('queued', 'running', 'pausing', 'paused')
        AND (s.state IN ('pending', 'ready') OR s.state = 'waiting' AND NOT s.is_fan) THEN
    r := begun(r);
    IF s.carrier IS NOT NULL THEN
      -- Its dependants no longer wait for it, so they must not wait for its message.
      PERFORM break_canvas(p_tenant, p_run, s.carrier);
    END IF;
  ELSE
    RETURN 'illegal_step';
  END IF;
  UPDATE run_steps SET state = 'skipped', error = why, not_before = NULL, finished_at = clock_timestamp()
  WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key RETURNING * INTO s;
  UPDATE runs SET version = version + 1, event_seq = event_seq + 1 WHERE tenant_id = p_tenant AND id = p_run
  RETURNING * INTO r;
  PERFORM emit_event(p_tenant, 'runs/' || p_run, r.event_seq, 'step.skipped',
    jsonb_build_object('run_id', p_run, 'step', p_key, 'round', s.round), p_actor);
  PERFORM audit(p_tenant, p_actor, 'step.skip', 'runs/' || p_run,
                jsonb_build_object('step', p_key, 'reason', p_reason));
  PERFORM conclude(r, s);
  RETURN 'ok';
END $$;

-- A new run of the plan of a run that has ended, its steps unsent. Another spec, also that of an earlier generation,
-- becomes the intent's next generation. The locks of its key and of the tenant's limits come before that of the run, as
-- in every submission: who holds a key may wait for a run that it cancels.
CREATE FUNCTION rerun_run(p_tenant uuid, p_run uuid, p_actor jsonb, p_version integer, p_new uuid, p_spec jsonb,
                          p_spec_hash text, p_concurrency jsonb DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r runs; i intents; wanted intent_generations; present text;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  PERFORM lock_keys(p_tenant, array_remove(ARRAY[coalesce(p_concurrency ->> 'key', u.concurrency_key)], NULL)),
          free_places(p_tenant)
  FROM runs u WHERE u.tenant_id = p_tenant AND u.id = p_run;
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  IF r.id IS NULL OR r.version <> p_version
     OR r.state NOT IN ('succeeded', 'failed', 'cancelled', 'superseded') THEN
    RETURN CASE WHEN r.id IS NULL THEN 'not_found' WHEN r.version <> p_version THEN 'conflict' ELSE 'illegal' END;
  ELSIF r.parent_run_id IS NOT NULL THEN
    RETURN 'child';
  ELSIF is_occupied(r) THEN
    RETURN 'occupied';
  END IF;
  SELECT * INTO i FROM intents WHERE tenant_id = p_tenant AND id = r.intent_id;
  SELECT * INTO wanted FROM intent_generations
  WHERE tenant_id = p_tenant AND intent_id = i.id AND generation = r.generation;
  IF p_spec IS NOT NULL THEN
    wanted.spec := p_spec;
    wanted.spec_hash := p_spec_hash;
  END IF;
  SELECT spec_hash INTO present FROM intent_generations
  WHERE tenant_id = p_tenant AND intent_id = i.id AND generation = i.generation;
  IF wanted.spec_hash <> present THEN
    i.generation := i.generation + 1;
    i.event_seq := i.event_seq + 1;
    INSERT INTO intent_generations (tenant_id, intent_id, generation, spec, spec_hash, created_by)
    VALUES (p_tenant, i.id, i.generation, wanted.spec, wanted.spec_hash, (p_actor ->> 'user_id')::uuid);
    PERFORM emit_event(p_tenant, 'intents/' || i.id, i.event_seq, 'intent.updated', jsonb_build_object(
      'intent_id', i.id, 'generation', i.generation, 'type', i.type_name, 'run_id', p_new), p_actor);
  END IF;
  UPDATE intents SET phase = 'pending', generation = i.generation, event_seq = i.event_seq, version = version + 1,
         updated_at = clock_timestamp()
  WHERE tenant_id = p_tenant AND id = i.id;
  PERFORM start_runs(p_tenant, jsonb_build_array(jsonb_build_object('run_id', p_new, 'intent_id', i.id,
    'generation', i.generation, 'type', r.type_name, 'plan_hash', r.plan_hash, 'workflow', r.workflow_name,
    'workflow_version', r.workflow_version, 'priority', i.priority, 'pool', r.pool, 'trace', r.trace,
    'deadline_s', r.deadline_s, 'queue_timeout_s', r.queue_timeout_s,
    'concurrency', CASE WHEN p_concurrency IS NOT NULL THEN p_concurrency WHEN r.concurrency_key IS NOT NULL THEN
      jsonb_build_object('key', r.concurrency_key, 'limit', r.key_limit, 'on_full', 'queue') END)));
  UPDATE runs SET event_seq = event_seq + 1 WHERE tenant_id = p_tenant AND id = p_run RETURNING * INTO r;
  PERFORM emit_event(p_tenant, 'runs/' || p_run, r.event_seq, 'run.rerun', jsonb_build_object(
    'run_id', p_run, 'new_run_id', p_new, 'generation', i.generation), p_actor);
  PERFORM audit(p_tenant, p_actor, 'run.rerun', 'runs/' || p_run, jsonb_build_object(
    'new_run_id', p_new, 'generation', i.generation, 'spec_hash', wanted.spec_hash));
  RETURN 'ok';
END $$;
