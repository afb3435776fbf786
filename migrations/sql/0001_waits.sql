-- Waits: times, signals, approvals. A step that waits is nobody's claim and no message; whoever ends its wait does so
-- under the run's lock, as every finisher does. And needs with an outcome: failure, always.

-- The news of one ended step in a plan whose needs ask for outcomes. Each need counts down its step however it
-- ended, so the verdict falls when the last one has, whatever their order. Until then the step's error holds what is
-- known: upstream_failed outweighs condition_not_met. What is closed by that is news in turn, wave by wave.
CREATE FUNCTION pass_on(p_step run_steps, OUT closed integer, OUT unsent boolean) LANGUAGE plpgsql AS $$
DECLARE
  wave text[] := ARRAY[p_step.key];
  ended integer;
  ready boolean;
BEGIN
  closed := 0;
  unsent := false;
  LOOP
    WITH news AS (
      SELECT e.target, count(*) AS needs,
        bool_or(e.wanted <> 'always' AND n.state = 'cancelled'
                OR e.wanted = 'success' AND n.state = 'failed' AND NOT n.continue_on_failure) AS blocked,
        min(n.key) FILTER (WHERE e.wanted = 'failure' AND n.state IN ('succeeded', 'skipped')) AS unmet
      FROM run_steps n CROSS JOIN LATERAL unnest(n.successors, n.successors_on) AS e (target, wanted)
      WHERE n.tenant_id = p_step.tenant_id AND n.run_id = p_step.run_id AND n.key = ANY (wave) GROUP BY e.target
    ), fate AS (
      SELECT s.key, s.needs_left - news.needs AS remaining, CASE
        WHEN s.error ->> 'code' = 'upstream_failed' THEN s.error
        WHEN news.blocked THEN jsonb_build_object('code', 'upstream_failed', 'step', p_step.base)
        WHEN news.unmet IS NOT NULL THEN jsonb_build_object('code', 'condition_not_met', 'step', news.unmet)
        ELSE s.error END AS error
      FROM news JOIN run_steps s ON s.tenant_id = p_step.tenant_id AND s.run_id = p_step.run_id AND s.key = news.target
      WHERE s.state = 'pending'
    ), verdict AS (
      SELECT f.key, f.remaining, f.error, CASE
        WHEN f.remaining > 0 THEN 'pending' WHEN f.error IS NULL THEN 'ready'
        WHEN f.error ->> 'code' = 'upstream_failed' THEN 'cancelled' ELSE 'skipped' END AS state
      FROM fate f
    ), changed AS (
      UPDATE run_steps s SET needs_left = v.remaining, error = v.error, state = v.state,
        ready_at = CASE WHEN v.state = 'ready' THEN clock_timestamp() END,
        finished_at = CASE WHEN v.state IN ('cancelled', 'skipped') THEN clock_timestamp() END,
        sent_at = CASE WHEN v.state IN ('pending', 'ready') THEN s.sent_at END,
        carrier = CASE WHEN v.state IN ('pending', 'ready') THEN s.carrier END
      FROM verdict v WHERE s.tenant_id = p_step.tenant_id AND s.run_id = p_step.run_id AND s.key = v.key
      RETURNING s.key, s.state, s.sent_at
    ) SELECT coalesce(array_agg(c.key) FILTER (WHERE c.state IN ('cancelled', 'skipped')), '{}'),
             count(*) FILTER (WHERE c.state IN ('cancelled', 'skipped')),
             coalesce(bool_or(c.state = 'ready' AND c.sent_at IS NULL), false)
      INTO wave, ended, ready FROM changed c;
    closed := closed + ended;
    unsent := unsent OR ready;
    EXIT WHEN ended = 0;
  END LOOP;
END $$;

-- What a re-armed step knows already: a need that had to fail has ended well, and is not among those re-armed.
CREATE FUNCTION unmet_need(p_step run_steps, p_outcomes jsonb, p_keys text[]) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('code', 'condition_not_met', 'step', min(n.key))
  FROM jsonb_each_text(p_outcomes) AS e (need, wanted)
  JOIN run_steps n ON n.tenant_id = p_step.tenant_id AND n.run_id = p_step.run_id AND n.key = e.need
  WHERE e.wanted = 'failure' AND n.state IN ('succeeded', 'skipped') AND n.key <> ALL (p_keys) HAVING count(*) > 0
$$;

-- A ready wait begins, once. The clock is the database's: p_seconds from now, or p_until, or neither for a signal
-- without a time-out. Without p_input its `when` was false: it is skipped. A signal that came early ends it at once,
-- so does a time that has passed. True when something is ready now that no message carries.
CREATE FUNCTION begin_wait(p_tenant uuid, p_run uuid, p_key text, p_input jsonb, p_seconds double precision,
                           p_until timestamptz) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE r runs; s run_steps; unsent boolean;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run AND state IN ('queued', 'running')
    FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE run_steps SET state = CASE WHEN p_input IS NULL THEN 'skipped' ELSE 'waiting' END, input = p_input,
         not_before = coalesce(p_until, clock_timestamp() + make_interval(secs => p_seconds)),
         started_at = clock_timestamp(), finished_at = CASE WHEN p_input IS NULL THEN clock_timestamp() END
  WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key AND operation = 'wait' AND state = 'ready'
  RETURNING * INTO s;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  r := begun(r);
  IF p_input IS NULL THEN
    SELECT c.needs_advance INTO unsent FROM conclude(r, s) c;
  ELSIF p_input ? 'signal' THEN
    r := wait_event(r, 'step.waiting', jsonb_build_object('run_id', r.id, 'step', s.key) || p_input);
    SELECT t.needs_advance INTO unsent FROM take_signal(r, s) t;
  ELSIF s.not_before <= clock_timestamp() THEN
    SELECT t.needs_advance INTO unsent FROM end_timer(r, s) t;
  END IF;
  RETURN coalesce(unsent, false);
END $$;

CREATE FUNCTION wait_event(r runs, p_type text, p_data jsonb, p_actor jsonb DEFAULT NULL) RETURNS runs
LANGUAGE plpgsql AS $$
BEGIN
  UPDATE runs SET event_seq = event_seq + 1 WHERE tenant_id = r.tenant_id AND id = r.id RETURNING * INTO r;
  PERFORM emit_event(r.tenant_id, 'runs/' || r.id, r.event_seq, p_type, p_data, p_actor);
  RETURN r;
END $$;

-- Ends a wait under the run's lock.
CREATE FUNCTION end_wait(r runs, s run_steps, p_state text, p_output jsonb, p_error jsonb, OUT run_state text,
                         OUT needs_advance boolean) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE run_steps SET state = p_state, output = p_output, error = p_error, not_before = NULL,
         finished_at = clock_timestamp()
  WHERE tenant_id = s.tenant_id AND run_id = s.run_id AND key = s.key AND state = 'waiting' RETURNING * INTO s;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the step % does not wait', s.key USING ERRCODE = 'QP001';
  END IF;
  SELECT c.run_state, c.needs_advance INTO run_state, needs_advance FROM conclude(r, s) c;
END $$;

-- A wait whose time has come: a timer ends well, a signal did not come.
CREATE FUNCTION end_timer(r runs, s run_steps, OUT run_state text, OUT needs_advance boolean) LANGUAGE plpgsql AS $$
DECLARE signal text := s.input ->> 'signal';
BEGIN
  IF signal IS NULL THEN
    SELECT e.run_state, e.needs_advance INTO run_state, needs_advance
    FROM end_wait(r, s, 'succeeded', jsonb_build_object('due', s.not_before, 'at', clock_timestamp()), NULL) e;
  ELSE
    SELECT e.run_state, e.needs_advance INTO run_state, needs_advance FROM end_wait(r, s, 'failed', NULL,
      jsonb_build_object('code', 'signal_timeout', 'message', 'the signal ' || signal || ' did not come in time')) e;
  END IF;
END $$;

-- The oldest signal of its name that nobody consumed ends a wait.
CREATE FUNCTION take_signal(r runs, s run_steps, OUT run_state text, OUT needs_advance boolean)
LANGUAGE plpgsql AS $$
DECLARE g run_signals;
BEGIN
  UPDATE run_signals SET step_key = s.key, round = s.round
  WHERE tenant_id = r.tenant_id AND run_id = r.id AND seq = (
    SELECT k.seq FROM run_signals k WHERE k.tenant_id = r.tenant_id AND k.run_id = r.id
      AND k.name = s.input ->> 'signal' AND k.step_key IS NULL ORDER BY k.seq LIMIT 1)
  RETURNING * INTO g;
  IF FOUND THEN
    SELECT e.run_state, e.needs_advance INTO run_state, needs_advance FROM end_wait(r, s, 'succeeded',
      jsonb_build_object('payload', g.payload, 'by', g.sent_by, 'at', g.created_at), NULL) e;
  END IF;
END $$;

-- Keeps a signal and gives it to the first step that waits for it; without one it stays for the next that will.
-- verdicts: ok not_found illegal full. step: who took it.
CREATE FUNCTION send_signal(p_tenant uuid, p_run uuid, p_actor jsonb, p_name text, p_payload jsonb)
RETURNS TABLE (verdict text, run_state text, step text, needs_advance boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE r runs; s run_steps; news record; number integer; kept integer;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  SELECT coalesce(max(seq), 0) + 1, count(*) FILTER (WHERE step_key IS NULL) INTO number, kept
  FROM run_signals WHERE tenant_id = p_tenant AND run_id = p_run;
  IF r.id IS NULL OR r.state NOT IN ('queued', 'running') OR kept >= 1000 THEN
    RETURN QUERY SELECT CASE WHEN r.id IS NULL THEN 'not_found' WHEN r.state NOT IN ('queued', 'running')
                             THEN 'illegal' ELSE 'full' END, r.state::text, NULL::text, false;
    RETURN;
  END IF;
  INSERT INTO run_signals (tenant_id, run_id, seq, name, payload, sent_by)
  VALUES (p_tenant, p_run, number, p_name, p_payload, signed_by(p_actor));
  s := waiting_for(r, p_name);
  r := wait_event(r, 'run.signalled', jsonb_build_object('run_id', p_run, 'signal', p_name, 'step', s.key), p_actor);
  PERFORM audit(p_tenant, p_actor, 'run.signal', 'runs/' || p_run,
                jsonb_build_object('signal', p_name, 'step', s.key));
  IF s.key IS NOT NULL THEN
    SELECT * INTO news FROM take_signal(r, s);
    RETURN QUERY SELECT 'ok', news.run_state, s.key, news.needs_advance;
    RETURN;
  END IF;
  RETURN QUERY SELECT 'ok', r.state::text, NULL::text, false;
END $$;

CREATE FUNCTION signed_by(p_actor jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
  SELECT jsonb_build_object('user_id', p_actor -> 'user_id', 'email', p_actor -> 'email')
$$;

-- The first step of the run that waits for this signal; its keys are the plan's, so this reads no other step.
CREATE FUNCTION waiting_for(r runs, p_name text) RETURNS run_steps LANGUAGE sql STABLE AS $$
  SELECT s.* FROM plan_steps p
  JOIN run_steps s ON s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.key = p.base AND s.state = 'waiting'
  WHERE p.tenant_id = r.tenant_id AND p.plan_hash = r.plan_hash AND p.operation = 'wait'
    AND p.definition -> 'wait' ->> 'signal' = p_name ORDER BY s.seq LIMIT 1
$$;

-- One user's decision about the step that waits for it: the caller has checked the user's roles. The vote that
-- completes the count ends the step well, a rejection fails it at once.
-- verdicts: ok not_found illegal not_waiting voted.
CREATE FUNCTION cast_vote(p_tenant uuid, p_run uuid, p_actor jsonb, p_name text, p_decision text, p_reason text)
RETURNS TABLE (verdict text, run_state text, step text, needs_advance boolean) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE r runs; s run_steps; news record; votes jsonb; approvals integer; said text;
BEGIN
  PERFORM set_config('app.tenant_id', p_tenant::text, true);
  SELECT * INTO r FROM runs WHERE tenant_id = p_tenant AND id = p_run FOR NO KEY UPDATE;
  s := waiting_for(r, p_name);
  IF r.id IS NULL OR r.state NOT IN ('queued', 'running') OR s.key IS NULL THEN
    said := CASE WHEN r.id IS NULL THEN 'not_found' WHEN s.key IS NULL AND r.state IN ('queued', 'running')
                 THEN 'not_waiting' ELSE 'illegal' END;
    RETURN QUERY SELECT said, r.state::text, NULL::text, false;
    RETURN;
  END IF;
  INSERT INTO run_signals (tenant_id, run_id, seq, name, decision, reason, sent_by, user_id, step_key, round)
  SELECT p_tenant, p_run, coalesce(max(seq), 0) + 1, p_name, p_decision, p_reason, signed_by(p_actor),
         (p_actor ->> 'user_id')::uuid, s.key, s.round
  FROM run_signals WHERE tenant_id = p_tenant AND run_id = p_run
  ON CONFLICT (tenant_id, run_id, step_key, round, user_id) WHERE decision IS NOT NULL DO NOTHING;
  IF NOT FOUND THEN
    RETURN QUERY SELECT 'voted', r.state::text, s.key, false;
    RETURN;
  END IF;
  SELECT jsonb_agg(jsonb_build_object('decision', decision, 'reason', reason, 'by', sent_by, 'at', created_at)
                   ORDER BY seq), count(*) FILTER (WHERE decision = 'approve') INTO votes, approvals
  FROM run_signals WHERE tenant_id = p_tenant AND run_id = p_run AND step_key = s.key AND round = s.round
    AND decision IS NOT NULL;
  r := wait_event(r, 'run.signalled', jsonb_build_object('run_id', p_run, 'signal', p_name, 'step', s.key,
    'decision', p_decision, 'approvals', approvals), p_actor);
  PERFORM audit(p_tenant, p_actor, 'run.' || p_decision, 'runs/' || p_run, jsonb_strip_nulls(jsonb_build_object(
    'signal', p_name, 'step', s.key, 'reason', p_reason)));
  IF p_decision = 'reject' THEN
    SELECT * INTO news FROM end_wait(r, s, 'failed', jsonb_build_object('decisions', votes),
      jsonb_build_object('code', 'rejected', 'message', coalesce(p_reason, 'rejected'), 'by', signed_by(p_actor)));
  ELSIF approvals >= (s.input -> 'approvers' ->> 'count')::integer THEN
    SELECT * INTO news FROM end_wait(r, s, 'succeeded', jsonb_build_object('decisions', votes), NULL);
  ELSE
    RETURN QUERY SELECT 'ok', r.state::text, s.key, false;
    RETURN;
  END IF;
  RETURN QUERY SELECT 'ok', news.run_state, s.key, news.needs_advance;
END $$;

-- Ends the waits whose time has come, of runs that are under way; a run that somebody else has locked waits for the
-- next look. One row for each that ended: as many as p_limit mean that more may be due. A row that cannot be ended fails
-- them all; with p_careful it is put off alone, each in a savepoint of its own.
CREATE FUNCTION fire_timers(p_limit integer, p_careful boolean DEFAULT false) RETURNS TABLE (tenant_id uuid, run_id uuid, needs_advance boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE due record; r runs; s run_steps; news record;
BEGIN
  FOR due IN
    SELECT d.tenant_id, d.run_id, d.key FROM (
      SELECT w.tenant_id, w.run_id, w.key FROM run_steps w
      JOIN runs o ON o.tenant_id = w.tenant_id AND o.id = w.run_id AND o.state IN ('queued', 'running')
      WHERE w.state || '' = 'waiting' AND w.not_before <= clock_timestamp() AND w.operation = 'wait'
      ORDER BY w.not_before LIMIT p_limit) d
    ORDER BY d.tenant_id, d.run_id, d.key
  LOOP
    SELECT * INTO r FROM runs WHERE tenant_id = due.tenant_id AND id = due.run_id AND state IN ('queued', 'running')
      FOR NO KEY UPDATE SKIP LOCKED;
    CONTINUE WHEN NOT FOUND;
    SELECT * INTO s FROM run_steps WHERE tenant_id = due.tenant_id AND run_id = due.run_id AND key = due.key
      AND state = 'waiting' AND not_before <= clock_timestamp();
    CONTINUE WHEN NOT FOUND;
    IF p_careful THEN
      BEGIN
        SELECT * INTO news FROM end_timer(r, s);
      EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'the wait % of run % is put off: %', s.key, r.id, SQLERRM;
        UPDATE run_steps SET not_before = clock_timestamp() + interval '1 minute'
        WHERE tenant_id = s.tenant_id AND run_id = s.run_id AND key = s.key;
        CONTINUE;
      END;
    ELSE
      SELECT * INTO news FROM end_timer(r, s);
    END IF;
    RETURN QUERY SELECT r.tenant_id, r.id, news.needs_advance;
  END LOOP;
END $$;
