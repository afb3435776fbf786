-- How far a running step is. A relation of its own: run_steps is the hot row, wide by its input with its output, and
-- every version of it would be written anew for a number. Here a report rewrites a hundred bytes within their page, as
-- no column it changes is indexed. What belongs to an earlier claim (tries) is never shown.
CREATE TABLE step_progress (
  tenant_id uuid NOT NULL,
  run_id uuid NOT NULL,
  key text NOT NULL,
  tries integer NOT NULL,
  fraction real CHECK (fraction BETWEEN 0 AND 1),
  message text CHECK (length(message) <= 200),
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  FOREIGN KEY (tenant_id, run_id, key) REFERENCES run_steps ON DELETE CASCADE
) WITH (fillfactor = 50);
CREATE INDEX step_progress_age ON step_progress (created_at);
ALTER TABLE step_progress ADD PRIMARY KEY (tenant_id, run_id, key);

-- The owner of a claim tells how far it is; a late owner changes nothing. Waits for no disk: the next report makes
-- good for one that a crash of the server takes away.
CREATE FUNCTION report_progress(p_tenant uuid, p_run uuid, p_key text, p_tries integer, p_fraction real,
                                p_message text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  tenant text := set_config('app.tenant_id', p_tenant::text, true);
  waiting text := set_config('synchronous_commit', 'off', true);
BEGIN
  INSERT INTO step_progress AS g (tenant_id, run_id, key, tries, fraction, message)
  SELECT p_tenant, p_run, p_key, p_tries, p_fraction, p_message
  FROM run_steps s
  WHERE s.tenant_id = p_tenant AND s.run_id = p_run AND s.key = p_key AND s.state = 'running' AND s.tries = p_tries
  ON CONFLICT (tenant_id, run_id, key) DO UPDATE
  SET tries = excluded.tries, fraction = excluded.fraction, message = excluded.message, at = excluded.at
  WHERE g.tries <= excluded.tries;
  RETURN FOUND;
END $$;

GRANT SELECT, INSERT, UPDATE ON step_progress TO quantum_app;
GRANT SELECT, DELETE ON step_progress TO quantum_system;
