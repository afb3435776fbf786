-- Stretches: consecutive steps of a chain in one worker process.

-- The end of one step with the claim of the next in one commit. Only a step that its owner ended well hands on; the
-- claim is the usual one, so a pause, a cancellation, a canvas taken back are seen at the boundary.
CREATE FUNCTION finish_and_claim(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_outcome text, p_input jsonb,
                                 p_output jsonb, p_next text, p_epoch integer, p_boot uuid, p_pid integer,
                                 p_born bigint, p_worker text, OUT finished text, OUT run_state text,
                                 OUT needs_advance boolean, OUT verdict text, OUT tries integer, OUT attempt integer,
                                 OUT round integer, OUT operation text, OUT definition jsonb, OUT context jsonb)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  SELECT f.verdict, f.run_state, f.needs_advance INTO finished, run_state, needs_advance
  FROM finish_step(p_tenant, p_run, p_key, p_tries, p_outcome, p_input, p_output, NULL, NULL) f;
  IF finished = 'finished' THEN
    SELECT c.verdict, c.tries, c.attempt, c.round, c.operation, c.definition, c.context
    INTO verdict, tries, attempt, round, operation, definition, context
    FROM claim_step(p_tenant, p_run, p_next, p_epoch, p_boot, p_pid, p_born, p_worker) c;
  END IF;
END $$;
