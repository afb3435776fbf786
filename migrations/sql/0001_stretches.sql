-- Stretches: consecutive steps of a chain in one worker process.

-- The end of one step with the claim of the next in one commit: what finish_step, claim_step do one after the other. A
-- plain link of a chain (a run under way, the one successor is the next step, whose last need this is) takes three
-- statements here, since the start of a statement costs more than its rows. Anything else goes the usual way, where a
-- pause, a cancellation, a canvas taken back are seen.
CREATE FUNCTION finish_and_claim(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_outcome text, p_input jsonb,
                                 p_output jsonb, p_next text, p_epoch integer, p_boot uuid, p_pid integer,
                                 p_born bigint, p_worker text, OUT finished text, OUT run_state text,
                                 OUT needs_advance boolean, OUT verdict text, OUT tries integer, OUT attempt integer,
                                 OUT round integer, OUT operation text, OUT definition jsonb, OUT context jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE r runs; link record; tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  UPDATE runs SET open_steps = open_steps - 1 WHERE tenant_id = p_tenant AND id = p_run AND state = 'running'
  RETURNING * INTO r;
  IF FOUND THEN
    WITH next AS (
      SELECT n.key FROM run_steps n
      WHERE n.tenant_id = p_tenant AND n.run_id = p_run AND n.key = p_next AND n.state = 'pending'
        AND n.needs_left = 1 AND n.dispatch_epoch = p_epoch AND n.sent_at IS NOT NULL AND n.item IS NULL
        AND n.successors_on IS NULL
        AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN ('*', 'tenant/' || p_tenant, 'worker/' || p_worker))
      FOR NO KEY UPDATE
    ), ended AS (
      UPDATE run_steps s SET state = p_outcome, input = coalesce(p_input, input), output = p_output, error = NULL,
             finished_at = clock_timestamp()
      FROM next
      WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.key = p_key AND s.state = 'running'
        AND s.tries = p_tries AND s.item IS NULL AND s.successors = ARRAY[next.key] AND s.successors_on IS NULL
      RETURNING s.*
    )
    INSERT INTO step_attempts (tenant_id, run_id, key, tries, attempt, round, state, boot, pid, worker, started_at)
    SELECT tenant_id, run_id, key, tries, attempt, round, state, lease_boot, lease_pid, worker, started_at FROM ended;
    IF FOUND THEN
      UPDATE run_steps n SET state = 'running', needs_left = 0, ready_at = clock_timestamp(), tries = n.tries + 1,
             attempt = n.attempt + 1, started_at = clock_timestamp(), finished_at = NULL, lease_boot = p_boot,
             lease_pid = p_pid, lease_born = p_born, worker = p_worker
      FROM plan_steps p
      WHERE n.tenant_id = p_tenant AND n.run_id = p_run AND n.key = p_next
        AND p.tenant_id = p_tenant AND p.plan_hash = r.plan_hash AND p.base = n.base
      RETURNING n AS step, p.definition INTO link;
      finished := 'finished';
      run_state := r.state;
      needs_advance := false;
      verdict := 'claimed';
      tries := (link.step).tries;
      attempt := (link.step).attempt;
      round := (link.step).round;
      operation := (link.step).operation;
      definition := link.definition;
      context := step_context(r, link.step, coalesce(definition -> 'refs', '[]'),
                              coalesce((definition ->> 'uses_spec')::boolean, false));
      RETURN;
    END IF;
    UPDATE runs SET open_steps = open_steps + 1 WHERE tenant_id = p_tenant AND id = p_run;
  END IF;
  SELECT f.verdict, f.run_state, f.needs_advance INTO finished, run_state, needs_advance
  FROM finish_step(p_tenant, p_run, p_key, p_tries, p_outcome, p_input, p_output, NULL, NULL) f;
  IF finished = 'finished' THEN
    SELECT c.verdict, c.tries, c.attempt, c.round, c.operation, c.definition, c.context
    INTO verdict, tries, attempt, round, operation, definition, context
    FROM claim_step(p_tenant, p_run, p_next, p_epoch, p_boot, p_pid, p_born, p_worker) c;
  END IF;
END $$;
