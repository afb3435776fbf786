-- Results that identical steps may use again: who computed what from which input. The output stays where it is, in the
-- row of the step that made it; an entry counts as long as that step still stands as it ended then.
CREATE TABLE step_results (
  tenant_id uuid NOT NULL,
  input_hash text NOT NULL,
  run_id uuid NOT NULL,
  key text NOT NULL,
  tries integer NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, input_hash),
  FOREIGN KEY (tenant_id, run_id, key) REFERENCES run_steps ON DELETE CASCADE
);
CREATE INDEX step_results_expiry ON step_results (expires_at);
CREATE INDEX step_results_step ON step_results (tenant_id, run_id, key);

-- {run, step, tries}: of the claim `tries` of this step; that of an earlier claim is not shown.
ALTER TABLE run_steps ADD COLUMN reused_from jsonb;

-- The output of an identical step, for the owner of the claim p_tries of another: marks the claim's row, takes part in
-- the holds of the artifacts that the output names. Nothing when there is none, it is too old, or its artifacts are gone.
CREATE FUNCTION reuse_result(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_hash text, p_ttl interval)
RETURNS TABLE (run_id uuid, key text, output jsonb) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE s record; tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  SELECT s.run_id, s.key, s.tries, s.output INTO s
  FROM step_results c JOIN run_steps s
    ON s.tenant_id = c.tenant_id AND s.run_id = c.run_id AND s.key = c.key AND s.tries = c.tries
  WHERE c.tenant_id = p_tenant AND c.input_hash = p_hash AND c.expires_at > clock_timestamp()
    AND c.created_at > clock_timestamp() - p_ttl;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  -- The content's row is locked as a writer locks it: the collector waits, or has been there already.
  PERFORM 1 FROM artifacts a JOIN step_artifacts h ON h.tenant_id = a.tenant_id AND h.sha256 = a.sha256
  WHERE h.tenant_id = p_tenant AND h.run_id = s.run_id AND h.key = s.key AND h.tries = s.tries
  ORDER BY a.sha256 FOR UPDATE OF a;
  IF NOT EXISTS (SELECT 1 FROM run_steps o WHERE o.tenant_id = p_tenant AND o.run_id = s.run_id AND o.key = s.key
                 AND o.tries = s.tries AND o.state = 'succeeded') THEN
    RETURN;
  END IF;
  UPDATE run_steps SET reused_from = jsonb_build_object('run', s.run_id, 'step', s.key, 'tries', p_tries)
  WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key AND state = 'running' AND tries = p_tries;
  IF NOT FOUND THEN
    RETURN;
  END IF;
  INSERT INTO step_artifacts (tenant_id, run_id, key, tries, sha256, content_type)
  SELECT h.tenant_id, p_run, p_key, p_tries, h.sha256, h.content_type FROM step_artifacts h
  WHERE h.tenant_id = p_tenant AND h.run_id = s.run_id AND h.key = s.key AND h.tries = s.tries
  ON CONFLICT DO NOTHING;
  RETURN QUERY SELECT s.run_id, s.key, s.output;
END $$;

-- The owner of a claim offers the result that it is about to settle; it counts once its step has succeeded.
CREATE FUNCTION offer_result(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_hash text, p_ttl interval)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  INSERT INTO step_results (tenant_id, input_hash, run_id, key, tries, expires_at)
  VALUES (p_tenant, p_hash, p_run, p_key, p_tries, clock_timestamp() + p_ttl)
  ON CONFLICT (tenant_id, input_hash) DO UPDATE SET run_id = excluded.run_id, key = excluded.key,
    tries = excluded.tries, created_at = excluded.created_at, expires_at = excluded.expires_at;
END $$;

GRANT SELECT, INSERT, UPDATE ON step_results TO quantum_app;
GRANT SELECT, DELETE ON step_results TO quantum_system;
