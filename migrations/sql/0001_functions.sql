-- The hot path: declare, claim, finish. Each is one round trip, runs as its caller under Row-Level Security, names
-- the tenant itself. Lock order everywhere: run, then its steps, then its intent. Whoever changes more than one step
-- of a run holds the run's row lock, so two finishers of a join never both see the other one unfinished.

-- A plan is immutable; the first use by a tenant writes it.
CREATE FUNCTION register_plan(p_tenant uuid, p_hash text, p_document jsonb, p_steps jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO plans (tenant_id, hash, document) VALUES (p_tenant, p_hash, p_document) ON CONFLICT DO NOTHING;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO plan_steps (tenant_id, plan_hash, base, seq, needs, successors, is_fan, operation, queue, soft_timeout,
                          continue_on_failure, definition, first_carrier, successors_on, undoes)
  SELECT p_tenant, p_hash, s.base, s.seq, s.needs, s.successors, s.is_fan, s.operation, s.queue, s.soft_timeout,
         coalesce((s.definition ->> 'continue_on_failure')::boolean, false), s.definition, s.first_carrier,
         s.successors_on, s.undoes
  FROM jsonb_to_recordset(p_steps) AS s (base text, seq integer, needs text[], successors text[], is_fan boolean,
       operation text, queue text, soft_timeout integer, definition jsonb, first_carrier integer, successors_on text[],
       undoes text);
END $$;

-- Writes runs with their steps for generations that are there. A step without needs is ready at once; when the item
-- names a broker epoch, the steps of the plan's first segments are written as sent already (epoch 1), because the
-- caller sends those canvases after its commit. Returns which runs wait for admission: their steps stay unsent; with a
-- null among them those of the others as well.
-- One statement writes both: of a single run, the start of a statement costs more than its rows.
CREATE FUNCTION start_runs(p_tenant uuid, p_items jsonb) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
  missing text; blocked uuid[] := blocked_by_key(p_tenant, p_items);
  held uuid[] := held_back(p_tenant, p_items, blocked);
BEGIN
  WITH item AS MATERIALIZED (
    SELECT i.*, i.run_id = ANY (held) AS waits
    FROM jsonb_to_recordset(p_items) AS i (run_id uuid, intent_id uuid, generation integer, type text, plan_hash text,
         workflow text, workflow_version integer, priority smallint, pool text, concurrency jsonb, broker_epoch text, trace text)
  ), run AS (
    INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name, workflow_version,
                      priority, pool, admitted_at, concurrency_key, key_limit, held_by_key, held_steps, trace, open_steps)
    SELECT p_tenant, i.run_id, i.intent_id, coalesce(i.generation, 1), i.type, i.plan_hash, i.workflow,
           i.workflow_version, coalesce(i.priority, 0), coalesce(i.pool, ''),
           CASE WHEN i.waits IS NOT TRUE THEN clock_timestamp() END, i.concurrency ->> 'key',
           (i.concurrency ->> 'limit')::integer, i.run_id = ANY (blocked),
           CASE WHEN array_position(held, NULL) > 0 THEN 1 END, i.trace,
           (SELECT count(*) FROM plan_steps s
            WHERE s.tenant_id = p_tenant AND s.plan_hash = i.plan_hash AND s.undoes IS NULL)
    FROM item i
    RETURNING plan_hash, open_steps
  ), step AS (
    INSERT INTO run_steps (tenant_id, run_id, key, base, seq, state, needs_left, successors, successors_on, is_fan,
                           operation, queue, continue_on_failure, ready_at, sent_at, dispatch_epoch, carrier,
                           broker_epoch)
    SELECT p_tenant, i.run_id, s.base, s.base, s.seq, CASE WHEN s.needs = '{}' THEN 'ready' ELSE 'pending' END,
           cardinality(s.needs), s.successors, s.successors_on, s.is_fan, s.operation, s.queue, s.continue_on_failure,
           CASE WHEN s.needs = '{}' THEN clock_timestamp() END,
           CASE WHEN sent.now THEN clock_timestamp() END, CASE WHEN sent.now THEN 1 ELSE 0 END,
           CASE WHEN sent.now THEN s.first_carrier END, CASE WHEN sent.now THEN i.broker_epoch END
    FROM item i
    JOIN plan_steps s ON s.tenant_id = p_tenant AND s.plan_hash = i.plan_hash AND s.undoes IS NULL
    CROSS JOIN LATERAL (SELECT i.broker_epoch IS NOT NULL AND s.first_carrier IS NOT NULL AND NOT i.waits AS now) sent
  ) SELECT string_agg(r.plan_hash, ', ') INTO missing FROM run r WHERE r.open_steps = 0;
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'plan without steps: %', missing USING ERRCODE = 'QP002';
  END IF;
  IF p_items @? '$[*] ? (exists(@.deadline_s) || exists(@.queue_timeout_s))' THEN
    PERFORM limit_runs(p_tenant, p_items);
  END IF;
  IF held <> '{}' THEN
    PERFORM list_waiting(p_tenant, ARRAY(SELECT DISTINCT r.pool FROM runs r
                                         WHERE r.tenant_id = p_tenant AND r.id = ANY (held) AND NOT r.held_by_key));
  END IF;
  IF blocked <> '{}' THEN
    PERFORM when_full(p_tenant, p_items, blocked);
  END IF;
  RETURN held;
END $$;

-- Intents with their first generation, labels, run, steps, event, audit record, in the caller's transaction. Each item
-- is of the actor at its place n, counted from 0. Returns what start_runs does.
CREATE FUNCTION declare_intents(p_tenant uuid, p_actors jsonb, p_items jsonb) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  WITH item AS MATERIALIZED (
    SELECT i.*, a.actor, (a.actor ->> 'user_id')::uuid AS author
    FROM jsonb_to_recordset(p_items) AS i (n integer, intent_id uuid, run_id uuid, type text, type_version integer,
         name text, mode text, priority smallint, spec jsonb, spec_hash text, trace text)
    CROSS JOIN LATERAL (SELECT p_actors -> coalesce(i.n, 0) AS actor) a
  ), intent AS (
    INSERT INTO intents (tenant_id, id, type_name, type_version, name, mode, priority, event_seq, created_by)
    SELECT p_tenant, i.intent_id, i.type, i.type_version, i.name, i.mode, coalesce(i.priority, 0), 1, i.author FROM item i
  ), generation AS (
    INSERT INTO intent_generations (tenant_id, intent_id, generation, spec, spec_hash, created_by)
    SELECT p_tenant, i.intent_id, 1, i.spec, i.spec_hash, i.author FROM item i
  ), event AS (
    INSERT INTO events (tenant_id, subject, seq, type, data, actor, trace, shard)
    SELECT p_tenant, 'intents/' || i.intent_id, 1, 'io.quantum.intent.created',
           jsonb_build_object('intent_id', i.intent_id, 'generation', 1, 'type', i.type, 'run_id', i.run_id), i.actor,
           if_sampled(i.trace), event_shard(p_tenant, 'intents/' || i.intent_id)
    FROM item i
  )
  INSERT INTO audit_records (tenant_id, actor, action, subject, detail, request_id, source_ip)
  SELECT p_tenant, i.actor, 'intent.create', 'intents/' || i.intent_id,
         jsonb_build_object('type', i.type, 'run_id', i.run_id, 'spec_hash', i.spec_hash),
         i.actor ->> 'request_id', i.actor ->> 'source_ip'
  FROM item i;
  IF p_items @? '$[*].labels.*' THEN
    INSERT INTO intent_labels (tenant_id, intent_id, key, value)
    SELECT p_tenant, i.intent_id, l.key, l.value
    FROM jsonb_to_recordset(p_items) AS i (intent_id uuid, labels jsonb)
    CROSS JOIN LATERAL jsonb_each_text(coalesce(i.labels, '{}')) l;
  END IF;
  RETURN start_runs(p_tenant, p_items);
END $$;

-- The facts an expression of a step may look at: only the steps it refers to, the spec only when it uses it. The
-- rows read are final, so a second evaluation is identical. A fan's output is its items' outputs in order.
CREATE FUNCTION step_context(p_run runs, p_step run_steps, p_refs jsonb, p_uses_spec boolean)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE steps jsonb := '{}'; spec jsonb;
BEGIN
  IF jsonb_array_length(p_refs) > 0 THEN
    SELECT coalesce(jsonb_object_agg(s.key, jsonb_build_object('state', s.state, 'output', CASE WHEN s.is_fan
             THEN fan_output(p_run.tenant_id, p_run.id, s.key) ELSE s.output END, 'error', s.error)), '{}') INTO steps
    FROM run_steps s WHERE s.tenant_id = p_run.tenant_id AND s.run_id = p_run.id
     AND s.key = ANY (ARRAY(SELECT jsonb_array_elements_text(p_refs)));
  END IF;
  IF p_uses_spec THEN
    spec := p_run.spec;
    IF spec IS NULL THEN
      SELECT g.spec INTO spec FROM intent_generations g
      WHERE g.tenant_id = p_run.tenant_id AND g.intent_id = p_run.intent_id AND g.generation = p_run.generation;
    END IF;
  END IF;
  RETURN jsonb_build_object('spec', spec, 'steps', steps, 'item', p_step.item_value, 'index', p_step.item,
    'run', jsonb_build_object('id', p_run.id, 'intent_id', p_run.intent_id, 'tenant_id', p_run.tenant_id,
      'created_at', p_run.created_at, 'trace', trace_below(p_run.trace, p_run.id), 'workflow', p_run.workflow_name, 'workflow_version', p_run.workflow_version));
END $$;

-- What the events of a sub-workflow's run say of its parent.
CREATE FUNCTION of_parent(p_parent uuid) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE WHEN p_parent IS NULL THEN '{}' ELSE jsonb_build_object('parent_run_id', p_parent) END
$$;

-- queued -> running, by whoever comes first; the others find it done.
CREATE FUNCTION begin_run(p_tenant uuid, p_run uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
  UPDATE runs SET state = 'running', started_at = clock_timestamp(), event_seq = event_seq + 1, version = version + 1
  WHERE tenant_id = p_tenant AND id = p_run AND state = 'queued'
  RETURNING intent_id, generation, event_seq, parent_run_id INTO r;
  IF FOUND THEN
    UPDATE intents SET phase = 'running', updated_at = clock_timestamp()
    WHERE tenant_id = p_tenant AND id = r.intent_id AND generation = r.generation AND phase = 'pending';
    PERFORM emit_event(p_tenant, 'runs/' || p_run, r.event_seq, 'run.started',
      jsonb_build_object('run_id', p_run, 'intent_id', r.intent_id, 'state', 'running') || of_parent(r.parent_run_id),
      NULL);
  END IF;
END $$;

-- A worker's child takes one ready step: compare-and-set on (state, dispatch_epoch), no lock of the run. A message
-- whose mark was taken back (its canvas broke, it counted as lost) is void. tries grows with every claim of the step
-- and never falls: it is the fence that a late owner fails at.
-- The same child may ask again when its connection broke before the answer came; it gets the same tries.
-- done: the step ended well in this very epoch, so the canvas may go on. lost: somebody else's, or not its time. held:
-- it is its time, but maintenance, a suspended tenant, an order to this worker forbid it.
CREATE FUNCTION claim_step(p_tenant uuid, p_run uuid, p_key text, p_epoch integer, p_boot uuid, p_pid integer,
                           p_born bigint, p_worker text, OUT verdict text, OUT tries integer, OUT attempt integer,
                           OUT round integer, OUT operation text, OUT definition jsonb, OUT context jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE held record; s run_steps; d jsonb; won boolean; tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  FOR look IN 1 .. 2 LOOP
    -- One statement for three relations: the start of a statement costs more than its rows.
    UPDATE run_steps t SET state = 'running', tries = t.tries + 1, attempt = t.attempt + 1,
           started_at = clock_timestamp(), finished_at = NULL, lease_boot = p_boot, lease_pid = p_pid,
           lease_born = p_born, worker = p_worker
    FROM runs u, plan_steps p
    WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.key = p_key AND t.state = 'ready'
      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL
      AND u.tenant_id = p_tenant AND u.id = p_run AND u.state <> 'queued'
      AND p.tenant_id = p_tenant AND p.plan_hash = u.plan_hash AND p.base = t.base
      AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant, 'worker/' || p_worker))
    RETURNING t AS step, u AS run, p.definition INTO held;
    won := FOUND;
    EXIT WHEN won OR look = 2;
    -- The run's lock comes before the step's, so ask first whether this message would win. Not whether the run is still
    -- queued: another claim may have begun it since the statement above, and this one wins at the second look.
    PERFORM 1 FROM run_steps t
    WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.key = p_key AND t.state = 'ready'
      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant, 'worker/' || p_worker));
    EXIT WHEN NOT FOUND;
    PERFORM begin_run(p_tenant, p_run);
  END LOOP;
  IF NOT won THEN
    SELECT t AS step, u AS run, p.definition INTO held
    FROM run_steps t JOIN runs u ON u.tenant_id = t.tenant_id AND u.id = t.run_id
    JOIN plan_steps p ON p.tenant_id = t.tenant_id AND p.plan_hash = u.plan_hash AND p.base = t.base
    WHERE t.tenant_id = p_tenant AND t.run_id = p_run AND t.key = p_key AND t.dispatch_epoch = p_epoch;
  END IF;
  s := held.step;
  IF NOT won AND s.state IN ('succeeded', 'skipped') THEN
    verdict := 'done';
    RETURN;
  ELSIF NOT won AND s.state = 'ready' AND s.sent_at IS NOT NULL
        AND EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant, 'worker/' || p_worker)) THEN
    verdict := 'held';
    RETURN;
  ELSIF NOT won AND (s.state IS DISTINCT FROM 'running' OR s.lease_boot <> p_boot OR s.lease_pid <> p_pid
                     OR s.lease_born <> p_born) THEN
    verdict := 'lost';
    RETURN;
  END IF;
  d := held.definition;
  verdict := 'claimed';
  tries := s.tries;
  attempt := s.attempt;
  round := s.round;
  operation := s.operation;
  definition := d;
  context := step_context(held.run, s, coalesce(d -> 'refs', '[]'), coalesce((d ->> 'uses_spec')::boolean, false));
  IF s.undoes IS NOT NULL THEN
    context := context || undo_context(s);
  END IF;
END $$;

-- A step ended well: whom it held back comes nearer. True when one is ready now and no message carries it.
CREATE FUNCTION release_successors(p_step run_steps) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE unsent boolean;
BEGIN
  WITH nearer AS (
    UPDATE run_steps SET needs_left = needs_left - 1,
           state = CASE WHEN needs_left = 1 THEN 'ready' ELSE state END,
           ready_at = CASE WHEN needs_left = 1 THEN clock_timestamp() END
    WHERE tenant_id = p_step.tenant_id AND run_id = p_step.run_id AND key = ANY (p_step.successors)
      AND state = 'pending'
    RETURNING state, sent_at
  ) SELECT bool_or(state = 'ready' AND sent_at IS NULL) INTO unsent FROM nearer;
  RETURN coalesce(unsent, false);
END $$;

-- A step failed for good: all that depends on it, however far, is cancelled, save what lies behind a step that an
-- operator has skipped. Returns how many steps that closed.
CREATE FUNCTION block_dependants(p_step run_steps) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE blocked integer;
BEGIN
  WITH RECURSIVE down (key) AS (
    SELECT unnest(p_step.successors)
    UNION
    SELECT unnest(s.successors) FROM down JOIN run_steps s
      ON s.tenant_id = p_step.tenant_id AND s.run_id = p_step.run_id AND s.key = down.key AND s.state = 'pending'
  )
  UPDATE run_steps t SET state = 'cancelled', finished_at = clock_timestamp(), sent_at = NULL, carrier = NULL,
         error = jsonb_build_object('code', 'upstream_failed', 'step', p_step.base)
  WHERE t.tenant_id = p_step.tenant_id AND t.run_id = p_step.run_id AND t.state = 'pending'
    AND t.key = ANY (ARRAY(SELECT key FROM down));
  GET DIAGNOSTICS blocked = ROW_COUNT;
  RETURN blocked;
END $$;

-- The canvas that carried this step stops here: what it would have carried on is unsent again, so that a later
-- release finds it ready without a message.
CREATE FUNCTION break_canvas(p_tenant uuid, p_run uuid, p_carrier integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE run_steps SET sent_at = NULL, carrier = NULL
  WHERE tenant_id = p_tenant AND run_id = p_run AND carrier = p_carrier AND state || '' = 'pending'
    AND sent_at IS NOT NULL;
END $$;

-- Bring the news of one ended step to the rest of its run, settle the run when nothing is open. The caller holds the
-- run's lock and passes the row as it was locked; p_step is as written. An item counts down its fan, the last one
-- closes it, and the fan's end is news in turn.
CREATE FUNCTION conclude(p_run runs, p_step run_steps, OUT run_state text, OUT needs_advance boolean)
LANGUAGE plpgsql AS $$
DECLARE
  s run_steps := p_step;
  seq integer := p_run.event_seq;
  closed integer := 1;
  failed integer := 0;
  bad boolean;
BEGIN
  needs_advance := false;
  LOOP
    bad := s.state = 'failed' AND NOT s.continue_on_failure;
    IF s.state = 'failed' THEN
      failed := failed + bad::integer;
      seq := seq + 1;
      PERFORM emit_event(s.tenant_id, 'runs/' || s.run_id, seq,
        CASE WHEN s.error ->> 'code' = 'poisoned' THEN 'step.poisoned' ELSE 'step.failed' END,
        jsonb_build_object('run_id', s.run_id, 'step', s.key, 'attempt', s.attempt, 'round', s.round,
                           'code', s.error ->> 'code'), NULL);
    END IF;
    IF s.undoes IS NOT NULL THEN
      seq := tell_undone(s, seq);
    END IF;
    IF s.item IS NULL THEN
      IF s.state = 'cancelled' THEN
        NULL;  -- only within a cancelled run, where nobody waits any more
      ELSIF s.successors_on IS NOT NULL THEN
        SELECT closed + p.more, p.unsent INTO closed, needs_advance FROM pass_on(s) AS p (more, unsent);
      ELSIF bad THEN
        closed := closed + block_dependants(s);
      ELSIF s.successors <> '{}' THEN
        needs_advance := release_successors(s);
      END IF;
      EXIT;
    END IF;
    UPDATE run_steps SET needs_left = needs_left - 1
    WHERE tenant_id = p_step.tenant_id AND run_id = p_step.run_id AND key = p_step.base AND state = 'waiting'
    RETURNING * INTO s;
    EXIT WHEN NOT FOUND;
    IF s.needs_left > 0 THEN
      needs_advance := s.input IS NOT NULL AND pass_place(p_run, s, p_step);
      EXIT;
    END IF;
    UPDATE run_steps f SET finished_at = clock_timestamp(),
      (state, error) = (SELECT CASE WHEN count(*) > 0 THEN 'failed' ELSE 'succeeded' END,
               CASE WHEN count(*) > 0 THEN jsonb_build_object('code', 'items_failed', 'failed', count(*)) END
        FROM run_steps i WHERE i.tenant_id = f.tenant_id AND i.run_id = f.run_id AND i.base = f.base
         AND i.item IS NOT NULL AND i.state = 'failed' AND NOT i.continue_on_failure)
    WHERE tenant_id = s.tenant_id AND run_id = s.run_id AND key = s.key RETURNING * INTO s;
    closed := closed + 1;
  END LOOP;

  run_state := p_run.state;
  IF p_run.open_steps > closed THEN
    UPDATE runs SET open_steps = open_steps - closed, failed_steps = failed_steps + failed, event_seq = seq
    WHERE tenant_id = p_run.tenant_id AND id = p_run.id;
    IF run_state = 'pausing' THEN
      run_state := rest_run(p_run.tenant_id, p_run.id, NULL);
    END IF;
    needs_advance := needs_advance AND run_state NOT IN ('cancelling', 'pausing', 'paused')
      OR p_run.held_steps IS NOT NULL; -- a place is free, whose ever it will be
    RETURN;
  END IF;
  run_state := settle_run(p_run, closed, p_run.failed_steps + failed, seq);
  -- The first compensation is to be sent; or a parent's step waits for this end.
  needs_advance := run_state = 'compensating' OR p_run.parent_run_id IS NOT NULL OR p_run.held_steps IS NOT NULL;
END $$;

-- Nothing is open: the run ends, and with it the phase of its intent, if the intent still wants this generation; or what
-- it did is compensated first. Returns the run's state.
CREATE FUNCTION settle_run(p_run runs, p_closed integer, p_failed integer, p_seq integer, p_error jsonb DEFAULT NULL)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  why jsonb := coalesce(p_error, p_run.error);
  final text := CASE WHEN is_overdue(why) THEN 'failed' WHEN p_run.state = 'cancelling' THEN 'cancelled'
                     WHEN p_failed > 0 THEN 'failed' ELSE 'succeeded' END;
  undone text := p_run.compensation;
BEGIN
  IF p_run.state = 'compensating' THEN
    SELECT o.final, o.error, o.compensation INTO final, why, undone FROM undo_outcome(p_run) o;
  ELSIF final <> 'succeeded' THEN
    IF is_overdue(why) THEN
      PERFORM blame_limit(p_run, why);
    END IF;
    why := coalesce(why, jsonb_build_object('code', 'steps_failed', 'failed', p_failed));
    IF wants_undo(p_run, final) THEN
      IF begin_undo(p_run, p_closed, p_failed, p_seq, why) THEN
        RETURN 'compensating';
      END IF;
      undone := 'complete';
    END IF;
  END IF;
  UPDATE runs SET state = final, open_steps = open_steps - p_closed, failed_steps = p_failed, event_seq = p_seq + 1,
         version = version + 1, finished_at = clock_timestamp(), due_at = NULL, error = why, compensation = undone
  WHERE tenant_id = p_run.tenant_id AND id = p_run.id;
  PERFORM emit_event(p_run.tenant_id, 'runs/' || p_run.id, p_seq + 1, 'run.' || final, jsonb_strip_nulls(
    jsonb_build_object('run_id', p_run.id, 'intent_id', p_run.intent_id, 'state', final, 'code', why ->> 'code',
                       'compensation', undone, 'round', nullif(p_run.round, 0)) || of_parent(p_run.parent_run_id)), NULL);
  UPDATE intents SET phase = final, observed_generation = p_run.generation, updated_at = clock_timestamp(),
         version = version + 1
  WHERE tenant_id = p_run.tenant_id AND id = p_run.intent_id AND generation = p_run.generation
    AND p_run.parent_run_id IS NULL; -- a sub-workflow's end is not the intent's
  PERFORM leave_place(p_run.tenant_id, p_run.concurrency_key);
  RETURN final;
END $$;

-- The owner of a claim settles it: compare-and-set on (state, tries). The run's lock is taken first and serialises
-- the finishers of one run, which makes the release of joins and the end of the run exact.
-- outcomes: succeeded failed skipped cancelled end the step; retry and killed give it back.
CREATE FUNCTION finish_step(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_outcome text, p_input jsonb,
                            p_output jsonb, p_error jsonb, p_retry_in interval, OUT verdict text, OUT run_state text,
                            OUT needs_advance boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  r runs; s run_steps; news record; target text := p_outcome;
  tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  IF r.state = 'cancelling' THEN
    IF p_outcome IN ('retry', 'killed') THEN
      target := 'cancelled';
    END IF;
  ELSIF p_outcome IN ('retry', 'killed') THEN
    SELECT g.verdict, g.run_state, g.needs_advance INTO verdict, run_state, needs_advance
    FROM give_back(r, p_key, p_tries, p_outcome, p_input, p_error, p_retry_in) g;
    RETURN;
  ELSIF p_outcome = 'cancelled' THEN
    target := 'failed';  -- nobody cancelled this run: whoever waits for the step must hear of it
  END IF;
  WITH ended AS (
    UPDATE run_steps SET state = target, input = coalesce(p_input, input), output = p_output, error = p_error,
           finished_at = clock_timestamp()
    WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key AND state = 'running' AND tries = p_tries
    RETURNING *
  ), noted AS (
    INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state, boot, pid, worker, error,
                               started_at)
    SELECT tenant_id, run_id, key, tries, attempt, round, CASE WHEN p_outcome = 'killed' THEN p_outcome ELSE state END,
           lease_boot, lease_pid, worker, error, started_at FROM ended
  ) SELECT * INTO s FROM ended;
  IF NOT FOUND THEN
    verdict := 'lost';
    run_state := r.state;
    needs_advance := false;
    RETURN;
  END IF;
  IF target NOT IN ('succeeded', 'skipped') AND s.carrier IS NOT NULL THEN
    PERFORM break_canvas(p_tenant, p_run, s.carrier);
  END IF;
  news := conclude(r, s);
  verdict := 'finished';
  run_state := news.run_state;
  needs_advance := news.needs_advance;
END $$;

-- An attempt that ended without ending its step: a retry waits for its time, a killed one is ready again at once.
-- A kill is not the step's fault, so it gives the attempt back; but three of them make the step poison. So does what
-- was deferred, as nothing was done: its caller bounds how often.
CREATE FUNCTION give_back(r runs, p_key text, p_tries integer, p_outcome text, p_input jsonb, p_error jsonb,
                          p_retry_in interval, OUT verdict text, OUT run_state text, OUT needs_advance boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  s run_steps; news record; killed boolean := p_outcome = 'killed';
  counted boolean := killed AND p_error ->> 'code' IS DISTINCT FROM 'worker_quarantined';
  free boolean := killed OR p_error #>> '{detail,deferred}' = 'true';
BEGIN
  verdict := 'lost';
  run_state := r.state;
  needs_advance := false;
  SELECT * INTO s FROM run_steps WHERE tenant_id = r.tenant_id AND run_id = r.id AND key = p_key
    AND state = 'running' AND tries = p_tries FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  verdict := 'finished';
  INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state, boot, pid, worker, error,
                             started_at)
  VALUES (s.tenant_id, s.run_id, s.key, s.tries, s.attempt, s.round, p_outcome, s.lease_boot, s.lease_pid, s.worker,
          p_error, s.started_at);
  IF s.carrier IS NOT NULL THEN
    PERFORM break_canvas(s.tenant_id, s.run_id, s.carrier);
  END IF;
  IF counted AND s.kills >= 2 THEN
    UPDATE run_steps SET state = 'failed', kills = kills + 1, finished_at = clock_timestamp(),
           error = jsonb_build_object('code', 'poisoned', 'message', 'its worker died three times', 'kills', kills + 1)
    WHERE tenant_id = s.tenant_id AND run_id = s.run_id AND key = s.key RETURNING * INTO s;
    news := conclude(r, s);
    run_state := news.run_state;
    needs_advance := news.needs_advance;
    RETURN;
  END IF;
  needs_advance := killed OR r.held_steps IS NOT NULL;
  UPDATE run_steps SET state = CASE WHEN killed THEN 'ready' ELSE 'waiting' END, kills = kills + counted::integer,
         attempt = attempt - coalesce(free, false)::integer, input = coalesce(p_input, input), error = p_error, sent_at = NULL,
         carrier = NULL, ready_at = CASE WHEN killed THEN clock_timestamp() END,
         not_before = CASE WHEN NOT killed THEN clock_timestamp() + coalesce(p_retry_in, interval '0') END
  WHERE tenant_id = s.tenant_id AND run_id = s.run_id AND key = s.key;
  IF NOT killed THEN
    UPDATE runs SET event_seq = event_seq + 1 WHERE tenant_id = r.tenant_id AND id = r.id;
    PERFORM emit_event(r.tenant_id, 'runs/' || r.id, r.event_seq + 1, 'step.retrying',
      jsonb_build_object('run_id', r.id, 'step', p_key, 'attempt', s.attempt, 'round', s.round,
                         'code', p_error ->> 'code'), NULL);
  END IF;
  IF run_state = 'pausing' THEN
    run_state := rest_run(r.tenant_id, r.id, NULL);
    needs_advance := r.held_steps IS NOT NULL;
  END IF;
END $$;
