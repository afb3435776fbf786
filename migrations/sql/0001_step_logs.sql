-- What operations log while they run: a row holds the lines of about a second, so a chatty step does not cost a row
-- a line. Lines are numbered within their try, lines that were left out too; `last` is the number of the row's last.
CREATE TABLE step_logs (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  key text NOT NULL,
  tries integer NOT NULL,
  last integer NOT NULL,
  lines jsonb NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, run_id, key, tries, last),
  FOREIGN KEY (tenant_id, run_id, key) REFERENCES run_steps ON DELETE CASCADE
);
CREATE INDEX step_logs_age ON step_logs (at);

-- Lines of one try, in the order of their numbers: its process writes one batch after the other, and repeats one
-- whose answer it did not get. Waits for no disk; the step's own end does.
CREATE FUNCTION write_step_log(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_last integer, p_lines jsonb)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  tenant text := set_config('app.tenant_id', p_tenant::text, true);
  waiting text := set_config('synchronous_commit', 'off', true);
BEGIN
  INSERT INTO step_logs (tenant_id, run_id, key, tries, last, lines)
  VALUES (p_tenant, p_run, p_key, p_tries, p_last, p_lines) ON CONFLICT DO NOTHING;
END $$;

GRANT SELECT, INSERT ON step_logs TO quantum_app;
GRANT SELECT, DELETE ON step_logs TO quantum_system;
