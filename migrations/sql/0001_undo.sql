-- Compensation: what completed is undone in reverse order of completion. The undoing steps are ordinary rows, chained by
-- needs, so that they are claimed, retried, limited, recovered, parked as every other step is. All of it runs under the
-- lock of the run, by whoever settles it.

-- Whether a run that would end so is to be compensated first: its workflow says so of failures, a person of this one.
CREATE FUNCTION wants_undo(r runs, p_final text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT r.compensation = 'wanted' OR p_final = 'failed' AND EXISTS (
    SELECT 1 FROM plan_steps p WHERE p.tenant_id = r.tenant_id AND p.plan_hash = r.plan_hash AND p.undoes IS NOT NULL
      AND (p.definition ->> 'on_failure')::boolean)
$$;

-- A sub-workflow's run that is stopped with its parent is undone with it.
CREATE FUNCTION parent_wants_undo(r runs) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT r.parent_run_id IS NOT NULL AND EXISTS (
    SELECT 1 FROM runs p WHERE p.tenant_id = r.tenant_id AND p.id = r.parent_run_id AND p.state = 'cancelling'
      AND wants_undo(p, CASE WHEN is_overdue(p.error) THEN 'failed' ELSE 'cancelled' END))
$$;

-- Lays down the undoing steps: of each step that succeeded and says how, items of a fan too; of each sub-workflow that
-- began, however it ended, when its own steps say how. False when there is none.
-- A later compensation of the same run takes the rows of the one before, in their next round.
CREATE FUNCTION begin_undo(r runs, p_closed integer, p_failed integer, p_seq integer, p_error jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE width integer; top integer;
BEGIN
  SELECT max(seq) INTO top FROM run_steps WHERE tenant_id = r.tenant_id AND run_id = r.id AND undoes IS NULL;
  INSERT INTO run_steps (tenant_id, run_id, key, base, seq, state, needs_left, successors, is_fan, operation, queue,
                         continue_on_failure, ready_at, undoes)
  SELECT r.tenant_id, r.id, 'undo-' || d.key, d.undo, top + d.n, CASE d.n WHEN 1 THEN 'ready' ELSE 'pending' END,
         (d.n > 1)::integer, array_remove(ARRAY['undo-' || d.next], NULL), false, d.operation, d.queue, false,
         CASE d.n WHEN 1 THEN clock_timestamp() END, d.key
  FROM (
    SELECT s.key, p.base AS undo, p.operation, p.queue, row_number() OVER latest AS n, lead(s.key) OVER latest AS next
    FROM run_steps s
    JOIN plan_steps p ON p.tenant_id = r.tenant_id AND p.plan_hash = r.plan_hash AND p.undoes = s.base
    WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND NOT s.is_fan AND (s.state = 'succeeded'
      OR p.operation = 'workflow' AND s.state IN ('failed', 'cancelled') AND child_to_undo(r, s.key) IS NOT NULL)
    WINDOW latest AS (ORDER BY s.finished_at DESC, s.seq DESC, s.item DESC, s.key DESC)
  ) d
  ON CONFLICT (tenant_id, run_id, key) DO UPDATE SET state = excluded.state, needs_left = excluded.needs_left,
    seq = excluded.seq, successors = excluded.successors, ready_at = excluded.ready_at, round = run_steps.round + 1,
    attempt = 0, kills = 0, sent_at = NULL, carrier = NULL, not_before = NULL, input = NULL, output = NULL,
    error = NULL, started_at = NULL, finished_at = NULL;
  GET DIAGNOSTICS width = ROW_COUNT;
  IF width = 0 THEN
    RETURN false;
  END IF;
  PERFORM mark_undoing(u) FROM run_steps u
  WHERE u.tenant_id = r.tenant_id AND u.run_id = r.id AND u.undoes IS NOT NULL AND u.state = 'ready';
  UPDATE runs SET state = 'compensating', compensation = 'running', open_steps = open_steps - p_closed + width,
         failed_steps = p_failed, error = p_error, event_seq = p_seq + 1, version = version + 1, due_at = NULL
  WHERE tenant_id = r.tenant_id AND id = r.id;
  PERFORM emit_event(r.tenant_id, 'runs/' || r.id, p_seq + 1, 'run.compensating', jsonb_build_object(
    'run_id', r.id, 'intent_id', r.intent_id, 'state', 'compensating', 'steps', width, 'code', p_error ->> 'code'),
    NULL);
  RETURN true;
END $$;

-- The latest run of a step that is a sub-workflow, when it has ended and is not undone yet.
CREATE FUNCTION child_to_undo(r runs, p_key text) RETURNS uuid LANGUAGE sql STABLE AS $$
  SELECT CASE WHEN c.state IN ('succeeded', 'failed', 'cancelled') AND c.compensation IS DISTINCT FROM 'complete' THEN c.id END
  FROM runs c WHERE c.tenant_id = r.tenant_id AND c.parent_run_id = r.id AND c.parent_step IN (p_key, 'undo-' || p_key)
  ORDER BY c.id DESC LIMIT 1
$$;

-- An undoing step may be claimed now: so its step is being compensated, and the fan of an item.
CREATE FUNCTION mark_undoing(u run_steps) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE run_steps o SET state = 'compensating'
  WHERE o.tenant_id = u.tenant_id AND o.run_id = u.run_id AND o.state = 'succeeded'
    AND (o.key = u.undoes OR o.is_fan AND 'undo-' || o.key = u.base);
END $$;

-- What an undoing step's expressions see beside what its step saw.
CREATE FUNCTION undo_context(u run_steps) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object('item', o.item_value, 'index', o.item, 'input', o.input, 'output', o.output)
  FROM run_steps o WHERE o.tenant_id = u.tenant_id AND o.run_id = u.run_id AND o.key = u.undoes
$$;

-- An undoing step has ended: its step is compensated, the next one's turn has come; or its step still stands. A skip
-- by hand counts: somebody has seen to it. Returns the number of the last event.
CREATE FUNCTION tell_undone(u run_steps, p_seq integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE done boolean := u.state IN ('succeeded', 'skipped');
BEGIN
  UPDATE run_steps SET state = CASE WHEN done THEN 'compensated' ELSE 'succeeded' END
  WHERE tenant_id = u.tenant_id AND run_id = u.run_id AND key = u.undoes AND state = 'compensating';
  UPDATE run_steps f SET state = CASE WHEN done THEN 'compensated' ELSE 'succeeded' END
  WHERE f.tenant_id = u.tenant_id AND f.run_id = u.run_id AND 'undo-' || f.key = u.base AND f.is_fan
    AND f.state = 'compensating' AND (NOT done OR NOT EXISTS (
      SELECT 1 FROM run_steps i WHERE i.tenant_id = f.tenant_id AND i.run_id = f.run_id AND i.base = f.key
        AND i.item IS NOT NULL AND i.state IN ('succeeded', 'compensating')));
  IF NOT done THEN
    RETURN p_seq;
  END IF;
  PERFORM mark_undoing(n) FROM run_steps n
  WHERE n.tenant_id = u.tenant_id AND n.run_id = u.run_id AND n.key = ANY (u.successors);
  PERFORM emit_event(u.tenant_id, 'runs/' || u.run_id, p_seq + 1, 'step.compensated', jsonb_build_object(
    'run_id', u.run_id, 'step', u.undoes, 'by', u.key, 'round', u.round), NULL);
  RETURN p_seq + 1;
END $$;

-- How a compensation ended. One that failed fails the run, and keeps what the run ended for.
CREATE FUNCTION undo_outcome(r runs, OUT final text, OUT error jsonb, OUT compensation text) LANGUAGE plpgsql AS $$
DECLARE u run_steps;
BEGIN
  SELECT * INTO u FROM run_steps s
  WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.undoes IS NOT NULL AND s.state = 'failed' LIMIT 1;
  IF FOUND THEN
    final := 'failed';
    compensation := 'failed';
    error := jsonb_build_object('code', 'compensation_failed', 'step', u.undoes, 'undo', u.key, 'cause', r.error,
      'message', 'the compensation of ' || u.undoes || ' failed: ' || coalesce(u.error ->> 'code', 'unknown'));
  ELSE
    final := CASE WHEN r.error ->> 'code' = 'cancelled' THEN 'cancelled' ELSE 'failed' END;
    compensation := 'complete';
    error := r.error;
  END IF;
END $$;

-- An operator lets a compensation that failed go on from the undoing step that failed.
CREATE FUNCTION resume_undo(p_run runs, p_actor jsonb) RETURNS runs LANGUAGE plpgsql AS $$
DECLARE r runs; width integer;
BEGIN
  UPDATE run_steps SET state = CASE WHEN state = 'failed' THEN 'ready' ELSE 'pending' END,
         needs_left = (state <> 'failed')::integer, ready_at = CASE WHEN state = 'failed' THEN clock_timestamp() END,
         round = round + 1, attempt = 0, kills = 0, sent_at = NULL, carrier = NULL, not_before = NULL, error = NULL,
         output = NULL, started_at = NULL, finished_at = NULL
  WHERE tenant_id = p_run.tenant_id AND run_id = p_run.id AND undoes IS NOT NULL AND state IN ('failed', 'cancelled');
  GET DIAGNOSTICS width = ROW_COUNT;
  PERFORM mark_undoing(u) FROM run_steps u
  WHERE u.tenant_id = p_run.tenant_id AND u.run_id = p_run.id AND u.undoes IS NOT NULL AND u.state = 'ready';
  UPDATE runs SET state = 'compensating', compensation = 'running', error = error -> 'cause', open_steps = width,
         failed_steps = failed_steps - 1, round = round + 1, version = version + 1, event_seq = event_seq + 1,
         finished_at = NULL
  WHERE tenant_id = p_run.tenant_id AND id = p_run.id RETURNING * INTO r;
  PERFORM emit_event(r.tenant_id, 'runs/' || r.id, r.event_seq, 'run.compensating', jsonb_build_object(
    'run_id', r.id, 'intent_id', r.intent_id, 'state', 'compensating', 'steps', width, 'round', r.round,
    'code', r.error ->> 'code'), p_actor);
  UPDATE intents SET phase = 'running', updated_at = clock_timestamp(), version = version + 1
  WHERE tenant_id = r.tenant_id AND id = r.intent_id AND generation = r.generation AND r.parent_run_id IS NULL;
  RETURN r;
END $$;

-- What an operator's retry of a run takes up: what failed for good, what was held back by it or stopped by a limit.
CREATE FUNCTION is_unfinished(s run_steps) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
  SELECT s.state = 'failed' AND NOT s.continue_on_failure OR s.state = 'cancelled'
    AND s.error ->> 'code' IN ('upstream_failed', 'deadline_exceeded', 'queue_timeout')
$$;

-- What a retry after a complete compensation runs: what was undone, all that depends on it, and what a retry runs
-- anyway. Fans among it are decided anew.
CREATE FUNCTION keys_after_undo(r runs) RETURNS text[] LANGUAGE sql STABLE AS $$
  WITH RECURSIVE base AS MATERIALIZED (
    SELECT key, successors FROM run_steps
    WHERE tenant_id = r.tenant_id AND run_id = r.id AND item IS NULL AND undoes IS NULL
  ), down (key) AS (
    SELECT DISTINCT base FROM run_steps WHERE tenant_id = r.tenant_id AND run_id = r.id AND state = 'compensated'
    UNION
    SELECT unnest(s.successors) FROM down d JOIN base s ON s.key = d.key
  )
  SELECT ARRAY(
    SELECT key FROM down
    UNION
    SELECT s.key FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.undoes IS NULL
      AND is_unfinished(s) AND s.base NOT IN (SELECT key FROM down))
$$;

-- The undoing steps that one canvas may carry now, in order: those before the next sub-workflow.
CREATE FUNCTION undo_chain(p_tenant uuid, p_run uuid, p_limit integer) RETURNS TABLE (key text, seq integer)
LANGUAGE sql STABLE AS $$
  SELECT s.key, s.seq FROM run_steps s
  WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.undoes IS NOT NULL AND s.state IN ('ready', 'pending')
    AND s.sent_at IS NULL AND NOT EXISTS (
      SELECT FROM run_steps w WHERE w.tenant_id = p_tenant AND w.run_id = p_run AND w.undoes IS NOT NULL
        AND w.operation = 'workflow' AND w.state IN ('ready', 'pending') AND w.seq <= s.seq)
  ORDER BY s.seq LIMIT p_limit
$$;

-- A timer or the recovery may be who settles a run.
GRANT INSERT ON run_steps TO quantum_system;
