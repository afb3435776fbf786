-- What stands in the artifact store, which claims of which steps hold it. A writer notes its hold before it writes the
-- content, so everything in the store has a row here. The collector locks that row, looks for holds, deletes the content
-- while it has the lock: a writer that comes meanwhile waits, then writes the content anew.
CREATE TABLE artifacts (
  tenant_id uuid NOT NULL,
  sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
  bytes bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, sha256)
);
CREATE INDEX artifacts_checked ON artifacts (checked_at);

CREATE TABLE step_artifacts (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  key text NOT NULL,
  tries integer NOT NULL,
  sha256 text NOT NULL,
  content_type text NOT NULL,
  PRIMARY KEY (tenant_id, run_id, key, sha256, tries),
  FOREIGN KEY (tenant_id, run_id, key) REFERENCES run_steps ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, sha256) REFERENCES artifacts
);
CREATE INDEX step_artifacts_content ON step_artifacts (tenant_id, sha256);

-- False when the claim is lost: its output would be nobody's.
CREATE FUNCTION hold_artifact(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_sha256 text, p_bytes bigint,
                              p_type text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE tenant text := set_config('app.tenant_id', p_tenant::text, true);
BEGIN
  PERFORM 1 FROM run_steps WHERE tenant_id = p_tenant AND run_id = p_run AND key = p_key AND state = 'running'
    AND tries = p_tries;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  INSERT INTO artifacts (tenant_id, sha256, bytes) VALUES (p_tenant, p_sha256, p_bytes)
  ON CONFLICT (tenant_id, sha256) DO UPDATE SET bytes = excluded.bytes;
  INSERT INTO step_artifacts (tenant_id, run_id, key, tries, sha256, content_type)
  VALUES (p_tenant, p_run, p_key, p_tries, p_sha256, p_type) ON CONFLICT DO NOTHING;
  RETURN true;
END $$;

-- A hold counts as long as no later claim of its step has begun: a writer that has lost its claim can finish nothing.
CREATE FUNCTION artifact_held(p_tenant uuid, p_sha256 text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT EXISTS (SELECT 1 FROM step_artifacts h JOIN run_steps s
    ON s.tenant_id = h.tenant_id AND s.run_id = h.run_id AND s.key = h.key AND s.tries = h.tries
    WHERE h.tenant_id = p_tenant AND h.sha256 = p_sha256)
$$;

GRANT SELECT, INSERT, UPDATE ON artifacts TO quantum_app;
GRANT SELECT, INSERT ON step_artifacts TO quantum_app;
GRANT SELECT, UPDATE, DELETE ON artifacts TO quantum_system;
GRANT SELECT, DELETE ON step_artifacts TO quantum_system;
